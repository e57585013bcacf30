"""The untrained student: an encoder with all or some of its layers, mean pooling, unit length."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from distill.errors import UserError
from distill.models import resolve, revision
from distill.recipe import Recipe, Student
from distill.run import Run, Stage, read_json
from distill.student.folder import move_into_place, write_beside

_PROBE = ["A sentence to compare two models by.", "Another one, a little longer than the first."]


def build_base(run: Run, recipe: Recipe) -> Stage:
    """The stage `base`: the student before training, a sentence-transformers model.

    Raises:
        UserError: if the encoder cannot be read, or does not have the layers asked for.
    """
    student = recipe.student
    check_layers(student.layers, count_layers(student.encoder))
    settings = student.model_dump() | {"revision": revision(student.encoder), "seed": recipe.seed}
    stage = run.stage("base", settings)
    if stage.complete:
        return stage
    model = build_student(student, recipe.seed)
    part = write_beside(stage, model)
    _check_reloaded(model, part, student)
    move_into_place(stage, part)
    stage.finish(
        parameters=sum(weight.numel() for weight in model.parameters()),
        dimensions=model.get_embedding_dimension(),
        max_tokens=model.max_seq_length,
    )
    return stage


def build_student(student: Student, seed: int) -> SentenceTransformer:
    """Encoder, mean pooling, a linear layer where `dimensions` asks for one, unit length.

    The same seed gives the same weights, also where the encoder's files lack some.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = _load_encoder(student)
        if student.layers is not None:
            resize_layers(transformer.auto_model, student.layers)
        width = transformer.get_embedding_dimension()
        modules: list[nn.Module] = [transformer, Pooling(width, pooling_mode="mean")]
        if student.dimensions is not None:
            # A bias would move all texts alike, which says nothing about any of them.
            modules.append(
                Dense(width, student.dimensions, bias=False, activation_function=nn.Identity())
            )
        modules.append(Normalize())
    prompts = {"query": query_prompt(student), "document": student.document_prompt}
    model = SentenceTransformer(
        modules=modules, prompts=prompts, similarity_fn_name="cosine", device="cpu"
    )
    model.max_seq_length = min(model.max_seq_length or student.max_tokens, student.max_tokens)
    return model


def query_prompt(student: Student, task: str | None = None) -> str:
    """What stands before a query of this task; by default, of the default task."""
    before = student.query_template.removesuffix("{query}")
    return before.replace("{task}", student.default_task if task is None else task)


def resize_layers(encoder: PreTrainedModel, layers: Sequence[int]) -> None:
    """Keep only these of an encoder's layers, counted from 0, in place.

    Raises:
        UserError: if there is no such layer, or no list of layers to choose from.
    """
    config = encoder.config
    check_layers(layers, config.num_hidden_layers)
    name, stack = _find_layers(encoder)
    kept = nn.ModuleList(stack[i] for i in layers)
    encoder.set_submodule(name, kept)
    for number, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number  # type: ignore[assignment]
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in layers]
    config.num_hidden_layers = len(layers)


def check_layers(layers: Sequence[int] | None, count: int) -> None:
    """Refuse a choice of layers that an encoder of `count` layers does not have."""
    if layers is None:
        return
    remedy = f"choose from 0 to {count - 1}, in rising order, or null for all {count}"
    if outside := [i for i in layers if not 0 <= i < count]:
        raise UserError(
            "student.layers", f"no layer {outside[0]}: the encoder has {count} layers", remedy
        )
    if not layers or list(layers) != sorted(set(layers)):
        raise UserError("student.layers", f"{list(layers)} is not a rising choice", remedy)


def count_layers(reference: str) -> int:
    """How many layers an encoder has, from its configuration alone."""
    folder = resolve(reference)
    modules = folder / "modules.json"
    first = read_json(modules)[0]["path"] if modules.exists() else ""
    try:
        config = AutoConfig.from_pretrained(folder / first, trust_remote_code=False)
        return int(config.num_hidden_layers)
    except (OSError, ValueError, AttributeError) as fault:
        raise _no_encoder(reference, fault) from fault


def _load_encoder(student: Student) -> Transformer:
    folder = resolve(student.encoder)
    try:
        loaded = SentenceTransformer(
            str(folder),
            device="cpu",
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except (OSError, ValueError) as fault:
        raise _no_encoder(student.encoder, fault) from fault
    if not isinstance(loaded[0], Transformer):
        raise _no_encoder(student.encoder, type(loaded[0]).__name__)
    return loaded[0]


def _no_encoder(reference: str, fault: object) -> UserError:
    return UserError(
        f"student.encoder {reference!r}",
        f"is not a text encoder with layers, in safetensors ({fault})",
        "name a BERT-like encoder or a sentence-transformers model made of one",
    )


def _find_layers(encoder: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The outermost list of as many modules as the configuration says there are layers."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == encoder.config.num_hidden_layers:
            return name, module
    raise UserError(
        "student.layers",
        f"a {type(encoder).__name__} has no list of layers to choose from",
        "set student.layers to null, or take a BERT-like encoder",
    )


def _check_reloaded(model: SentenceTransformer, part: Path, student: Student) -> None:
    """Some encoders build a layer by its number (a first layer without a norm, a window every
    third layer), and would come back from disk as something else."""
    reloaded = SentenceTransformer(str(part), device="cpu", local_files_only=True)
    before, after = (m.encode(_PROBE, show_progress_bar=False) for m in (model, reloaded))
    if not np.allclose(before, after, atol=1e-4):
        raise UserError(
            f"student.layers {student.layers}",
            f"{student.encoder!r} cannot be saved with these layers: it loads as another model",
            "keep layer 0 and an even pattern of layers, or all of them",
        )
