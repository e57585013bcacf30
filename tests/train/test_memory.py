"""Training does not hold the corpus in memory, whatever it learns from it."""

import tracemalloc

import pytest
from helpers.training_by_hand import make_example_rows, make_passage_rows, make_recipe

from distill.embed.vectors import vector_store
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import EXAMPLES, PASSAGES
from distill.student.build import build_base
from distill.train.settings import TrainingSettings
from distill.train.stage import train_student

ROWS_A_SHARD = 8
TEXT_BYTES = 8_000
FEW, MANY = 8, 400

TITLED = {"document_template": "title: {title} | text: {text}"}
VALIDATED = {"validation": {"share": 0.3, "every": 4, "passages": 4}, "epochs": 1}
ALIGNED = {
    "objective": {"infonce": 1, "align": 1},
    "align": {"passages": 2, "sentences": 2, "batch_size": 2},
    "epochs": 1,
}


def measure_peak_of_training(folder, recipe, unused: int) -> int:
    """The most bytes of Python objects while a student is trained, on a corpus with so many
    passages that no example holds."""
    extra = [
        {
            "passage_id": f"unused-{number}",
            "title": f"Unused {number}",
            "text": f"{number} is a number. " + "word " * (TEXT_BYTES // 5),
            "source": "test",
        }
        for number in range(unused)
    ]
    rows = [*make_passage_rows(), *extra]
    starts = range(0, len(rows), ROWS_A_SHARD)
    with Run(folder) as run:
        passages = run.open_stage("passages", {})
        parts = [rows[start : start + ROWS_A_SHARD] for start in starts]
        passages.map_shards(PASSAGES, parts, ShardResult)
        passages.finish()
        examples = run.open_stage("examples", {}, [passages])
        examples.map_shards(EXAMPLES, [make_example_rows()], ShardResult)
        examples.finish()
        base = build_base(run, recipe.student, recipe.seed)
        del rows, extra, parts
        tracemalloc.start()
        try:
            train_student(run, TrainingSettings.select(recipe), passages, [examples], base)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "train", "has_teacher"),
    [({}, {"epochs": 1}, False), (TITLED, VALIDATED, False), (TITLED, ALIGNED, True)],
    ids=["plain", "titled", "aligned"],
)
def test_corpus_fifty_times_as_large_takes_no_more_memory_in_training(
    tmp_path, monkeypatch, encoder_folder, teacher_folder, student, train, has_teacher
):
    monkeypatch.setattr(vector_store, "CHUNK", ROWS_A_SHARD)
    teacher = teacher_folder if has_teacher else None
    recipe = make_recipe(encoder_folder, teacher, student=student, train=train)
    measure_peak_of_training(tmp_path / "warm", recipe, FEW)
    few = measure_peak_of_training(tmp_path / "few", recipe, FEW)
    many = measure_peak_of_training(tmp_path / "many", recipe, MANY)
    assert many - few < MANY * TEXT_BYTES / 10
