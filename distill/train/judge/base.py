"""The judge before training: an encoder with a new last layer, which gives a pair one score."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Transformer

from distill.errors import UserError
from distill.models.reference import resolve
from distill.models.sentence_transformer import (
    count_positions,
    find_transformer_folder,
    read_settings,
)
from distill.recipe import DistilledJudge, Ranker, Recipe
from distill.student.base_model import load_encoder, read_config
from distill.student.layers import check_layers, resize_layers


class JudgeTraining(NamedTuple):
    """The settings of a judge's training: its section of the recipe, the reference of the encoder
    that it is made from, the rankers that it learns from, and the seed."""

    judge: DistilledJudge
    encoder: str
    teachers: list[Ranker]
    seed: int

    @classmethod
    def select(cls, recipe: Recipe) -> "JudgeTraining":
        """Select it of a recipe. Its encoder is the student's, and its teachers are the rankers of
        relabelling, where the section names none."""
        encoder = recipe.judge.encoder or recipe.student.encoder
        return cls(recipe.judge, encoder, recipe.judge_teachers, recipe.seed)


def check_encoder(judge: DistilledJudge, reference: str) -> None:
    """Check what can be known without the encoder's weights.

    Raises:
        UserError: if it is a decoder, or does not have the layers.
    """
    with _blame_judge():
        folder = resolve(reference)
        architectures = read_settings(folder, "config.json").get("architectures") or []
        if folder.suffix == ".gguf" or any(str(a).endswith("ForCausalLM") for a in architectures):
            raise UserError(
                f"judge.encoder {reference!r}",
                "is a decoder; the judge is made from an encoder, which reads query and passage "
                "together",
                "set judge.encoder to a BERT-like encoder",
            )
        check_layers(judge.layers, read_config(reference).num_hidden_layers)


def open_base(training: JudgeTraining) -> CrossEncoder:
    """Open the untrained judge on the CPU, in float32. The same seed gives the same last layer.

    Raises:
        UserError: if the encoder cannot be read, or has not the layers.
    """
    judge, reference = training.judge, training.encoder
    check_encoder(judge, reference)
    with _blame_judge():
        positions = load_encoder(reference).max_seq_length or judge.max_tokens
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            model = CrossEncoder(
                str(find_transformer_folder(resolve(reference))),
                num_labels=1,
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": torch.float32, "use_safetensors": True},
            )
        first = model[0]
        if not isinstance(first, Transformer):
            raise TypeError(f"a {type(first).__name__} is no transformer")
        if judge.layers is not None:
            resize_layers(first.model, judge.layers)
    described = getattr(first.model.config, "max_position_embeddings", None)
    most = count_positions(first) or described or positions
    model.max_seq_length = min(most, judge.max_tokens)
    return model


@contextmanager
def _blame_judge() -> Iterator[None]:
    """Name the judge's keys in what is said of a student's encoder."""
    try:
        yield
    except UserError as fault:
        parts = (fault.where, fault.what, fault.remedy)
        raise UserError(*(part.replace("student.", "judge.") for part in parts)) from fault
