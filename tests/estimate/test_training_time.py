"""The time of training and of evaluation is measured with the recipe's own student."""

from pathlib import Path

import pytest

from distill.estimate.amounts import Amount, Estimate, StageEstimate
from distill.estimate.estimate import estimate
from distill.recipe import load_recipe
from distill.store.run import Run

FREE = "relabel.rankers=[retriever, bm25]"
"""Judged without an LLM."""


def never_load():
    raise AssertionError("an LLM was loaded")


def estimate_with(recipe_file: Path, folder: Path, *sets: str) -> Estimate:
    free = ["generate.methods=[sentences]", FREE]
    recipe = load_recipe(recipe_file, [*free, *sets])
    with Run(folder) as run:
        return estimate(run, recipe, never_load, sample=2)


def find_stage(found: Estimate, stage: str) -> StageEstimate:
    return next(line for line in found.lines if line.stage == stage)


def test_training_and_evaluation_have_a_time(recipe_file, tmp_path):
    found = estimate_with(recipe_file, tmp_path)
    student, evaluation = find_stage(found, "student"), find_stage(found, "evaluation")
    assert student.seconds.high > 0
    assert "timed here" in student.note
    assert 0 < evaluation.seconds.low == evaluation.seconds.high
    assert found.total.note == ""
    assert found.total.seconds.high >= student.seconds.high + evaluation.seconds.high
    assert any("timed on this machine" in line for line in found.basis)


def test_training_time_grows_with_epochs_and_ends_with_max_steps(recipe_file, tmp_path):
    def measure(*sets: str) -> float:
        return find_stage(estimate_with(recipe_file, tmp_path, *sets), "student").seconds.high

    assert measure("train.epochs=200") > measure("train.epochs=2")
    assert measure("train.epochs=200", "train.max_steps=2") < measure("train.epochs=200") / 2


def test_validation_counts(recipe_file, tmp_path):
    def measure(every: int) -> float:
        sets = ("train.epochs=100", f"train.validation.every={every}")
        return find_stage(estimate_with(recipe_file, tmp_path, *sets), "student").seconds.high

    assert measure(1) > measure(10_000)


@pytest.mark.parametrize(
    "sets",
    [
        [
            "train.objective={infonce: 1.0, kl: 1.0}",
            "train.kl={candidates: all, scores: retriever}",
        ],
        ["train.objective={align: 1.0, similarity_matrix: 1.0}", "train.mini_batch_tokens=64"],
        ["student.lora={rank: 2}", "student.dimensions=48"],
        ["student.vocabulary=corpus", "train.gradient_checkpointing=true"],
        ["train.stages=[{name: a, epochs: 1}, {name: b, batch_size: 8}]"],
    ],
    ids=["soft labels", "alignment", "LoRA", "vocabulary of the corpus", "two stages"],
)
def test_time_of_a_training_is_measured_by_its_own_settings(recipe_file, tmp_path, sets):
    found = estimate_with(recipe_file, tmp_path, *sets)
    assert find_stage(found, "student").seconds.high > 0
    assert not [line for line in found.basis if line.startswith("Not measured")]


def test_query_encoder_and_its_static_part_have_a_time(recipe_file, encoder_folder, tmp_path):
    found = estimate_with(
        recipe_file,
        tmp_path,
        f"student={{route: query, encoder: {encoder_folder}, add_static: {{epochs: 7}}}}",
        f"teacher.model={encoder_folder}",
        "train={objective: {corpus_softmax: 1.0}, batch_size: 2, device: cpu}",
    )
    assert find_stage(found, "round-static/student").seconds.high > 0
    assert find_stage(found, "student").seconds.high > 0
    evaluation = find_stage(found, "evaluation").seconds
    assert evaluation.low < evaluation.high, "of its texts only the queries are embedded"


def test_student_that_cannot_be_loaded_is_said_and_has_no_time(recipe_file, tmp_path):
    encoder = tmp_path / "none"
    encoder.mkdir()
    found = estimate_with(recipe_file, tmp_path / "run", f"student.encoder={encoder}")
    assert find_stage(found, "student").seconds == Amount(0.0, None)
    assert "time without student" in found.total.note
    assert any(str(encoder) in line and "Not measured" in line for line in found.basis)


@pytest.mark.bad_input("estimate", "a kernel of training that is not here", "said, not measured")
def test_kernel_that_is_not_here_is_said_and_has_no_time(recipe_file, tmp_path):
    kernel = ["train.kernel=flash_attention_2", "train.dtype=bfloat16"]
    found = estimate_with(recipe_file, tmp_path / "run", *kernel)
    assert find_stage(found, "student").seconds.high is None
    assert any("flash-attn" in line and "Not measured" in line for line in found.basis)


def test_measurement_leaves_the_corpus_alone_in_the_run(recipe_file, tmp_path):
    estimate_with(recipe_file, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"passages", ".lock"}
