"""Training on tiny models: it learns, it resumes to the same bytes, it loads by itself."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MINILM
from helpers.tiny_architectures import make_tiny_decoder
from helpers.tiny_models import TEXTS
from helpers.training_by_hand import (
    ALIGNED,
    BOTH,
    QUESTIONS,
    make_example_rows,
    make_recipe,
    train_in,
    write_inputs,
)
from helpers.written_files import read_files
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.generate.examples import make_example
from distill.models.reference import resolve
from distill.models.sentence_transformer import load_sentence_model
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import EXAMPLES, Row
from distill.student.build import build_base
from distill.train.objectives import CombinedLoss
from distill.train.settings import TrainingSettings
from distill.train.stage import train_student


def test_student_learns_its_examples_and_loads_by_itself(tmp_path, encoder_folder):
    train = {"epochs": 40, "learning_rate": 1e-3, "widths": [32, 8]}
    stage = train_in(tmp_path / "run", make_recipe(encoder_folder, train=train))
    student = SentenceTransformer(str(stage.folder))
    untrained = SentenceTransformer(str(tmp_path / "run" / "base"))

    def right(model: SentenceTransformer, width: int) -> int:
        queries = model.encode_query([row["query"] for row in make_example_rows()])[:, :width]
        passages = model.encode_document([f"Text {i} {t}" for i, t in enumerate(TEXTS)])[:, :width]
        passages = passages / np.linalg.norm(passages, axis=1, keepdims=True)
        return sum((queries @ passages.T).argmax(axis=1) == range(len(QUESTIONS)))

    for width in (32, 8):
        assert right(student, width) == len(QUESTIONS) > right(untrained, width)
    figures = stage.manifest["figures"]
    assert figures["examples"] == 9
    assert figures["loss_last"] < figures["loss_first"]
    assert figures["cosine_to_teacher_after"] is None


def test_folder_holds_a_model_its_curve_and_nothing_else(tmp_path, encoder_folder, teacher_folder):
    stage = train_in(tmp_path / "run", make_recipe(encoder_folder, teacher_folder, train=ALIGNED))
    base = read_files(tmp_path / "run" / "base")
    assert set(read_files(stage.folder)) == {*base, "training.json"}
    assert [p.name for p in stage.metadata_dir.iterdir()] == ["manifest.json"]
    curve = json.loads((stage.folder / "training.json").read_text())["curve"]
    assert curve[0]["step"] == 1
    assert curve[-1]["step"] == stage.manifest["figures"]["steps"]
    assert {"infonce", "align", "align_texts"} <= {k for line in curve for k in line}
    assert stage.manifest["figures"]["texts"] == 16


def test_alignment_turns_a_student_towards_its_teacher(tmp_path, encoder_folder, teacher_folder):
    """The teacher is wider than the student: the projection learns too."""
    train = {"epochs": 15, "learning_rate": 1e-3, **ALIGNED, "objective": {"align": 1.0}}
    stage = train_in(tmp_path / "run", make_recipe(encoder_folder, teacher_folder, train=train))
    figures = stage.manifest["figures"]
    assert figures["cosine_to_teacher_after"] > figures["cosine_to_teacher_before"] + 0.2


def test_token_vectors_may_learn_at_a_rate_of_their_own(tmp_path, encoder_folder):
    """The two are unlike each other in the token vectors alone, but for what these lead to."""

    def moved(name: str, **rates: float) -> dict[str, float]:
        train = {"epochs": 1, "dropout": 0.0, **rates}
        folder = train_in(tmp_path / name, make_recipe(encoder_folder, train=train)).folder
        after, before = (
            load_file(f / "model.safetensors") for f in (folder, tmp_path / name / "base")
        )
        return {key: float((after[key] - before[key]).abs().max()) for key in before}

    alike = moved("alike", learning_rate=1e-4)
    assert moved("named", learning_rate=1e-4, embedding_learning_rate=1e-4) == alike
    faster = moved("faster", learning_rate=1e-4, embedding_learning_rate=1e-2)
    for key in alike:
        factor = 100 if "word_embeddings" in key else 1
        assert faster[key] == pytest.approx(factor * alike[key], rel=0.2, abs=1e-6)


def test_terms_are_weighted(tmp_path, encoder_folder, teacher_folder):
    train = {
        "objective": {"infonce": 0.5, "align": 3.0},
        "batch_size": 16,
        "epochs": 1,
    }
    rows = [row for row in make_example_rows() if row["negatives"]]
    recipe = make_recipe(encoder_folder, teacher_folder, train=train)
    stage = train_in(tmp_path / "run", recipe, rows)
    line = json.loads((stage.folder / "training.json").read_text())["curve"][0]
    assert line["loss"] == pytest.approx(0.5 * line["infonce"] + 3 * line["align"], rel=1e-4)


def test_prompts_of_the_base_stay(tmp_path, encoder_folder):
    student = {"query_template": "ask: {task} {query}", "document_prompt": "text: "}
    recipe = make_recipe(encoder_folder, student=student | {"dimensions": 8})
    stage = train_in(tmp_path / "run", recipe)
    model = SentenceTransformer(str(stage.folder))
    assert model.prompts["query"] == f"ask: {recipe.student.default_task} "
    assert model.prompts["document"] == "text: "
    assert model.max_seq_length == 32
    assert model.encode(TEXTS).shape == (len(TEXTS), 8)


def synthetic_rows() -> list[Row]:
    """Examples that no corpus and no retriever knows of."""
    return [
        make_example(f"brainstorm~{n}", "Find it.", "sts", f"asked {word}", f"told {word}", [])
        for n, word in enumerate(QUESTIONS)
    ]


def write_examples(run: Run, name: str, rows: list[Row]) -> Stage:
    stage = run.open_stage(name, {"rows": rows})
    stage.map_shards(EXAMPLES, [rows], ShardResult)
    stage.finish()
    return stage


def test_every_examples_folder_is_trained_on(tmp_path, encoder_folder, teacher_folder):
    recipe = make_recipe(encoder_folder, teacher_folder, train=ALIGNED)
    with Run(tmp_path / "run") as run:
        passages, chosen = write_inputs(run, make_example_rows())
        synthetic = write_examples(run, "examples-brainstorm", synthetic_rows())
        none = write_examples(run, "examples-labelled", [])
        base = build_base(run, recipe.student, recipe.seed)
        stage = train_student(
            run, TrainingSettings.select(recipe), passages, [chosen, synthetic, none], base
        )
    assert stage.manifest["figures"]["examples"] == 18
    assert set(stage.manifest["inputs"]) == {
        "passages",
        "examples",
        "examples-brainstorm",
        "examples-labelled",
        "base",
    }


def test_student_without_a_corpus(tmp_path, encoder_folder, teacher_folder):
    train = {"objective": BOTH, "epochs": 15, "learning_rate": 1e-3}
    recipe = make_recipe(encoder_folder, teacher_folder, train=train)
    with Run(tmp_path / "run") as run:
        synthetic = write_examples(run, "examples-brainstorm", synthetic_rows())
        base = build_base(run, recipe.student, recipe.seed)
        stage = train_student(run, TrainingSettings.select(recipe), None, [synthetic], base)
    assert set(stage.manifest["inputs"]) == {"examples-brainstorm", "base"}
    figures = stage.manifest["figures"]
    assert figures["loss_last"] < figures["loss_first"]
    assert figures["cosine_to_teacher_after"] > figures["cosine_to_teacher_before"]


@pytest.mark.parametrize("key", ["passages", "sentences"])
def test_texts_to_align_need_a_corpus(tmp_path, encoder_folder, teacher_folder, key):
    train = {"objective": BOTH, "align": {key: 5}}
    recipe = make_recipe(encoder_folder, teacher_folder, train=train)
    with Run(tmp_path / "run") as run:
        synthetic = write_examples(run, "examples-brainstorm", synthetic_rows())
        base = build_base(run, recipe.student, recipe.seed)
        with pytest.raises(UserError, match=rf"train\.align\.{key} 5: .*no corpus"):
            train_student(run, TrainingSettings.select(recipe), None, [synthetic], base)
    assert not (tmp_path / "run" / "student").exists()


@pytest.mark.bad_input("damage", "a base that has become causal", "refused")
def test_base_that_has_become_causal_is_not_trained(tmp_path):
    recipe = make_recipe(make_tiny_decoder(tmp_path / "decoder"))
    with Run(tmp_path / "run") as run:
        config = build_base(run, recipe.student, recipe.seed).folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"is_causal": True}))
    with pytest.raises(UserError, match="do not see those behind them"):
        train_in(tmp_path / "run", recipe)


@pytest.mark.bad_input("models", "a student that loads as another model", "refused, not finished")
def test_student_that_loads_as_another_is_not_finished(tmp_path, encoder_folder, monkeypatch):
    def other(folder: Path, device: str | None = None) -> SentenceTransformer:
        model = load_sentence_model(folder, device)
        if folder.name == "model.part":
            torch.nn.init.normal_(next(model.parameters()))
        return model

    monkeypatch.setattr("distill.train.stage.load_sentence_model", other)
    with pytest.raises(UserError, match="does not give the same vectors"):
        train_in(tmp_path / "run", make_recipe(encoder_folder))
    assert not (tmp_path / "run" / "student" / "config.json").exists()


def test_training_asks_nothing_of_the_network(
    tmp_path, encoder_folder, teacher_folder, monkeypatch
):
    """Not even where the hub is allowed, as it is for whoever trains on a hub's models."""
    asked = []

    def refuse(*address):
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    recipe = make_recipe(encoder_folder, teacher_folder, train={"checkpoint_steps": 4, **ALIGNED})
    train_in(tmp_path / "run", recipe)
    assert asked == []


@pytest.mark.bad_input("student", "Matryoshka widths that do not fit", "refused")
@pytest.mark.parametrize("widths", [[64, 32], [8]])
def test_widths_that_do_not_fit_are_refused(tmp_path, encoder_folder, widths):
    with pytest.raises(UserError, match=r"train\.widths.*\n?.*32 dimensions"):
        train_in(tmp_path / "run", make_recipe(encoder_folder, train={"widths": widths}))
    assert not (tmp_path / "run" / "student").exists()


@pytest.mark.bad_input("student", "no examples", "refused")
def test_no_examples_are_refused(tmp_path, encoder_folder):
    with pytest.raises(UserError, match="no example to train on"):
        train_in(tmp_path / "run", make_recipe(encoder_folder), [])
    assert not (tmp_path / "run" / "student").exists()


@pytest.mark.bad_input("student", "a loss that is no number", "the run ends, nothing saved of it")
def test_loss_that_is_no_number_ends_the_run(tmp_path, encoder_folder, monkeypatch):
    def give_nan(self, *arguments: object, **options: object) -> torch.Tensor:
        return compute(self, *arguments, **options) * torch.nan

    compute = CombinedLoss.forward
    monkeypatch.setattr(CombinedLoss, "forward", give_nan)
    train = {"epochs": 4, "warmup": 0}
    with pytest.raises(UserError, match=r"lower train\.learning_rate"):
        train_in(tmp_path / "run", make_recipe(encoder_folder, train=train))
    assert not (tmp_path / "run" / "student" / "config.json").exists()


@pytest.mark.slow
def test_half_of_minilm_comes_nearer_to_the_whole(tmp_path):
    train = {
        "epochs": 6,
        "learning_rate": 5e-4,
        "objective": {"align": 1.0},
        "align": {"passages": 12, "sentences": 12},
    }
    student = {"layers": [0, 2, 5]}
    recipe = make_recipe(resolve(MINILM), resolve(MINILM), train=train, student=student)
    stage = train_in(tmp_path / "run", recipe)
    with Run(tmp_path / "run") as run:
        base = SentenceTransformer(str(build_base(run, recipe.student, recipe.seed).folder))
    teacher, trained = (
        SentenceTransformer(str(folder)) for folder in (resolve(MINILM), stage.folder)
    )
    unseen = ["The sea is salty.", "Owls hunt at night.", "Bread rises when yeast is added."]

    def nearness(model: SentenceTransformer) -> float:
        return float((model.encode(unseen) * teacher.encode(unseen)).sum(axis=1).mean())

    figures = stage.manifest["figures"]
    assert figures["cosine_to_teacher_after"] > figures["cosine_to_teacher_before"]
    assert nearness(trained) > nearness(base)
