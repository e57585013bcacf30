"""Whole grades of an LLM's scores, as qrels files hold them."""

import logging
import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from distill.errors import UserError

_log = logging.getLogger(__name__)
_ALIKE = 1e-6
_RELEVANT = 0.5
"""Relevance from which a pair counts as relevant."""
_HIGHEST = {"graded": 3, "rc": 1}


class PairGrades(NamedTuple):
    """Each pair's grade, and whether it counts as relevant. `is_relative`: by comparison with the
    passages that queries were written for, because all pairs would have had one grade."""

    grades: list[int]
    relevant: list[bool]
    is_relative: bool


def grade_relevance(relevance: float, form: str) -> int:
    """Turn relevance from 0 to 1 into a whole grade: 0 to 3 by graded, 0 and 1 by rc."""
    return math.floor(relevance * _HIGHEST[form] + 0.5)


def get_highest_grade(form: str, is_relative: bool) -> int:
    """Get the highest grade that a pair can have.

    Args:
        is_relative: as of `PairGrades`.
    """
    return 1 if is_relative else _HIGHEST[form]


def grade_pairs(
    relevance: Sequence[float], is_seed: Sequence[bool], form: str, judge: str
) -> PairGrades:
    """Grade the pairs that have a score.

    A small LLM may call all pairs a little relevant, and still tell them apart. Where all pairs
    would have one grade, a pair counts as relevant if its score is at least the median score of the
    pairs of a query and the passage that it was written for.

    Args:
        is_seed: whether the query was written for the passage.
        judge: the LLM, for errors.

    Raises:
        UserError: if the LLM judges all pairs alike.
    """
    where = f"the judged pool of {judge}"
    remedy = (
        "name a larger model in evaluate.judged.llm, or evaluate.judged.judge: "
        f"{'graded' if form == 'rc' else 'rc'}; the student is trained and stays, or take judged "
        "out of evaluate.tasks"
    )
    if not relevance:
        raise UserError(where, "no pair has a usable score", remedy)
    if max(relevance) - min(relevance) < _ALIKE:
        raise UserError(
            where, f"all {len(relevance)} pairs have the score {relevance[0]:.4f}", remedy
        )
    grades = [grade_relevance(score, form) for score in relevance]
    if len(set(grades)) > 1:
        return PairGrades(grades, [score > _RELEVANT for score in relevance], False)
    seeds = [score for score, own in zip(relevance, is_seed, strict=True) if own]
    least = median(seeds) if seeds else math.inf
    relevant = [score >= least for score in relevance]
    if len(set(relevant)) == 1:
        raise UserError(where, f"all {len(relevance)} pairs have the grade {grades[0]}", remedy)
    _log.warning(
        "%s gives all %d pairs the grade %d (scores %.3f to %.3f): a pair counts as relevant that "
        "scores no less than half of the passages that queries were written for",
        judge,
        len(relevance),
        grades[0],
        min(relevance),
        max(relevance),
    )
    return PairGrades([int(one) for one in relevant], relevant, True)
