"""A term that compares a query's candidates is refused where no list has two to compare."""

import logging

import pytest
from helpers.training_by_hand import make_example_rows, make_recipe, write_inputs
from train.data.test_soft_labels import label, write

from distill.errors import UserError
from distill.store.run import Run
from distill.store.tables import LABELS, Row
from distill.student.build import build_base
from distill.train.settings import TrainingSettings
from distill.train.stage import train_student

QL = {"ql_per_token": True}


def drop_negatives(row: Row) -> Row:
    return row | {"negatives": [], "negative_ids": [], "negative_scores": []}


def train(folder, encoder, settings: dict, rows: list[Row], judged_negatives: int = 0) -> None:
    """Trains on labels as a cascade leaves them, which has judged the positives and the negatives
    of the first of the examples that have one."""
    labels, left = [], judged_negatives
    for row in rows:
        labels.append(label(row["query_id"], row["positive_id"], -1.0))
        for id_ in row["negative_ids"]:
            labels.append(label(row["query_id"], id_, -2.0 if left > 0 else None))
            left -= 1
    recipe = make_recipe(encoder, relabel=QL, train=settings)
    with Run(folder) as run:
        passages, examples = write_inputs(run, rows)
        judged = write(run, LABELS, "labels", [labels])
        base = build_base(run, recipe.student, recipe.seed)
        train_student(run, TrainingSettings.select(recipe), passages, [examples], base, judged)


KL_OF_QL = {"objective": {"infonce": 1, "kl": 1}, "kl": {"scores": "ql"}}
KL_OF_RETRIEVER = {"objective": {"kl": 1}, "kl": {"scores": "retriever"}}
MARGINS = {"objective": {"margin_mse": 1}, "margin_mse": {"scores": "ql"}}
ALONE = {"objective": {"infonce": 1}, "no_in_batch_negatives": "all"}


@pytest.mark.bad_input(
    "student", "soft labels or a contrast of one candidate", "refused before it is trained"
)
@pytest.mark.parametrize(
    ("settings", "has_negatives", "what", "remedy"),
    [
        (KL_OF_QL, True, "objective.kl: learns from 0 of 9", "train.kl.candidates: all"),
        (MARGINS, True, "objective.margin_mse: learns from 0 of 9", "relabel.negatives: hardest"),
        (KL_OF_RETRIEVER, False, "objective.kl: learns from 0 of 9", "relabel.negative_count"),
        (ALONE, False, "objective.infonce: learns from 0 of 9", "relabel.negative_count"),
    ],
    ids=["cascade-kl", "cascade-margin_mse", "kl-no-negatives", "infonce-no-negatives"],
)
def test_term_that_has_nothing_to_compare_is_refused(
    tmp_path, encoder_folder, settings, has_negatives, what, remedy
):
    rows = make_example_rows() if has_negatives else [*map(drop_negatives, make_example_rows())]
    with pytest.raises(UserError, match=what) as refused:
        train(tmp_path / "run", encoder_folder, settings, rows)
    assert remedy in refused.value.remedy


def test_term_that_learns_from_few_lists_is_warned_of(tmp_path, encoder_folder, caplog):
    few = {**MARGINS, "max_steps": 1}
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "few", encoder_folder, few, make_example_rows(), judged_negatives=2)
    assert "margin_mse learns from 2 of 9 examples: the others have one score" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "most", encoder_folder, few, make_example_rows(), judged_negatives=6)
    assert "learns from" not in caplog.text
