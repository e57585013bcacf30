"""Queries held out of training, to look at the student by: split by passage, so that none leaks."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from distill.errors import UserError
from distill.recipe import Recipe
from distill.recipe.sections.train import Validation
from distill.store.tables import EXAMPLES, PASSAGES, Row, passage_text
from distill.train.data.sources import TrainingInputs


@dataclass(frozen=True)
class HeldOut:
    """A share of the passages that are somebody's positive.

    A query is held out if both its positive and the passage that it was written from are; it is
    trained on if neither is; one that is between the two, or reads the same as one held out, is
    neither. So no held-out passage is a positive in training. It may be another query's hard
    negative there, which does not help to find it.
    """

    passages: frozenset[str]
    """Their ids,"""
    texts: frozenset[str]
    """and, since titles and other sources name them otherwise, their texts."""
    asked: frozenset[str]
    """What every held-out query reads."""
    queries: list[Row]
    """Those of them that are looked at."""
    documents: dict[str, str]
    """By id, what they are looked for among."""

    def allows(self, row: Row) -> bool:
        """Whether an example may be trained on."""
        return not (
            row["positive_id"] in self.passages
            or row["seed_id"] in self.passages
            or row["positive"] in self.texts
            or row["query"] in self.asked
        )


def hold_out(recipe: Recipe, inputs: TrainingInputs) -> HeldOut | None:
    """None where the recipe holds nothing out.

    Raises:
        UserError: if no query is left, held out or to train on.
    """
    rule = recipe.train.validation
    if rule.share == 0:
        return None
    rows = [row for stage in inputs.examples for row in stage.rows(EXAMPLES)]
    draw = random.Random(f"{recipe.seed}|validation")
    positives = list(dict.fromkeys(row["positive_id"] for row in rows))
    chosen = frozenset(draw.sample(positives, max(1, round(rule.share * len(positives)))))
    held = [row for row in rows if row["positive_id"] in chosen and _seed(row) in chosen]
    if not held or len(chosen) == len(positives):
        raise UserError(
            f"train.validation.share {rule.share}",
            f"holds out {len(chosen)} of {len(positives)} positive passages, {len(held)} queries",
            "choose another share, or generate more queries",
        )
    queries = draw.sample(held, min(rule.queries, len(held)))
    texts = frozenset(row["positive"] for row in rows if row["positive_id"] in chosen)
    asked = frozenset(row["query"] for row in held)
    return HeldOut(chosen, texts, asked, queries, _documents(rule, rows, queries, inputs, draw))


def _seed(row: Row) -> str:
    """An example whose texts belong to no corpus was written from its own positive."""
    return str(row["seed_id"] or row["positive_id"])


def _documents(
    rule: Validation,
    rows: Sequence[Row],
    queries: Sequence[Row],
    inputs: TrainingInputs,
    draw: random.Random,
) -> dict[str, str]:
    """The positives, and so many others drawn from the corpus and the examples' texts."""
    if inputs.passages is None:
        texts = {row["positive_id"]: row["positive"] for row in rows}
        for row in rows:
            texts |= dict(zip(row["negative_ids"], row["negatives"], strict=True))
    else:
        texts = {row["passage_id"]: passage_text(row) for row in inputs.passages.rows(PASSAGES)}
    needed = {row["positive_id"]: row["positive"] for row in queries}
    others = [key for key in texts if key not in needed]
    count = min(len(others), max(0, rule.passages - len(needed)))
    return needed | {key: texts[key] for key in draw.sample(others, count)}
