"""Checks of a training stage's lists: a term that tells a query's candidates apart learns nothing
from a list that holds one of them, or the score of one."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from distill.errors import UserError
from distill.recipe import Train
from distill.recipe.sections.objective import list_score_names
from distill.runtime import processes
from distill.train.data.mixture import ExampleColumns

_FEW = 0.5
"""Share of the lists that are learnt from below which a warning is due."""
_log = logging.getLogger(__name__)


class LearntLists(NamedTuple):
    """Counts of the lists that a term is given and of those that it can learn from, what the others
    lack, and what to do."""

    term: str
    learnt: int
    given: int
    lack: str
    remedy: str


def check_lists(stage: str, train: Train, columns: ExampleColumns) -> None:
    """Refuse a term that learns from no list of a training stage; warn of one that learns from few
    of those that have a score.

    Raises:
        UserError: naming the term, the cause and what to do.
    """
    for counts in _count_lists(train, columns):
        what = (
            f"learns from {counts.learnt} of {counts.given} examples: the others have "
            f"{counts.lack}, and nothing to compare it with"
            if counts.given
            else "has no example with a score"
        )
        if not counts.learnt:
            raise UserError(
                f"training, stage {stage}: train.objective.{counts.term}", what, counts.remedy
            )
        if counts.learnt < _FEW * counts.given and processes.is_main():
            _log.warning(
                "training, stage %s: train.objective.%s %s; %s",
                stage,
                counts.term,
                what,
                counts.remedy,
            )


def _count_lists(train: Train, columns: ExampleColumns) -> Iterator[LearntLists]:
    objective = train.objective
    if objective.kl or objective.margin_mse:
        lists = [[not math.isnan(score) for score in row] for row in columns.scores.list_scores()]
        own = [row[: 1 + n] for row, n in zip(lists, columns.negatives.tolist(), strict=True)]
        remedy = _name_remedy(train)
        if objective.kl:
            learnt = sum(sum(known) > 1 for known in lists)
            yield LearntLists("kl", learnt, _count_scored(lists), "one score", remedy)
        if objective.margin_mse:
            learnt = sum(known[0] and any(known[1:]) for known in own)
            yield LearntLists("margin_mse", learnt, _count_scored(own), "one score", remedy)
    if objective.infonce and train.no_in_batch_negatives:
        off = train.no_in_batch_negatives
        compared = [
            bool(count) or (off != "all" and task_type not in off)
            for count, task_type in zip(columns.negatives, columns.task_types, strict=True)
        ]
        yield LearntLists(
            "infonce",
            sum(compared),
            len(compared),
            "the positive alone",
            "set relabel.negative_count above 0, or allow negatives of the batch in "
            "train.no_in_batch_negatives",
        )


def _count_scored(lists: Sequence[Sequence[bool]]) -> int:
    return sum(any(known) for known in lists)


def _name_remedy(train: Train) -> str:
    whole = "set train.kl.candidates: all, or " if _has_wider_list(train) else ""
    return (
        f"{whole}choose hard negatives that have a score: relabel.negative_count above 0, and "
        "after a relabel.cascade relabel.negatives: hardest, for lowest chooses those that it left "
        "unjudged"
    )


def _has_wider_list(train: Train) -> bool:
    """Return whether kl learns the chosen candidates alone, and could learn all."""
    of_teacher = "teacher" in list_score_names(train.kl.scores)
    return bool(train.objective.kl) and train.kl.candidates == "chosen" and not of_teacher
