"""Soft scores of one query's candidates, read from its labels: one ranker's, or a mixture's."""

import math
from collections.abc import Mapping, Sequence

import torch

from distill.recipe import MixedScoreName, SoftScoreChoice, SoftScoreName
from distill.store.tables import Row
from distill.train.objectives.inputs import standardize

_COLUMNS: Mapping[SoftScoreName, str] = {"retriever": "similarity", "ql_sum": "ql"}
"""The labels' column of scores that have another name than it."""


def score_candidates(
    labels: Sequence[Row],
    seed_id: str,
    choice: SoftScoreChoice,
    bm25_share: float,
    teacher: Mapping[str, float],
) -> dict[str, float]:
    """Score the candidates of one query by passage; NaN where one has no score.

    Args:
        labels: the query's.
        seed_id: the passage that the query was written from; empty for a query of a log.
        bm25_share: weight of BM25 in `hybrid`.
        teacher: the teacher's similarity of some of the candidates.
    """
    if choice == "hybrid":
        scores = mix_scores(
            labels, seed_id, {"retriever": 1 - bm25_share, "bm25": bm25_share}, teacher
        )
    elif isinstance(choice, str):
        scores = _read_scores(choice, labels, seed_id, teacher)
    else:
        scores = mix_scores(labels, seed_id, choice, teacher)
    return dict(zip((label["passage_id"] for label in labels), scores, strict=True))


def mix_scores(
    labels: Sequence[Row],
    seed_id: str,
    weights: Mapping[MixedScoreName, float],
    teacher: Mapping[str, float],
) -> list[float]:
    """Add up scores that each have mean 0 and deviation 1 over the candidates that all of them
    know, times their weights; NaN for any other candidate. A score that all of a list's candidates
    share says nothing and counts 0. The softmax of the sum is the product of the parts'
    distributions, each to the power of its weight."""
    columns = [_read_scores(name, labels, seed_id, teacher) for name in weights]
    scores = torch.tensor(columns, dtype=torch.float64)
    scores[:, scores.isnan().any(0)] = math.nan
    factors = torch.tensor([*weights.values()], dtype=torch.float64)
    mixed: list[float] = (factors[:, None] * standardize(scores)).sum(0).tolist()
    return mixed


def _read_scores(
    name: SoftScoreName, labels: Sequence[Row], seed_id: str, teacher: Mapping[str, float]
) -> list[float]:
    if name == "seed":
        return [float(label["passage_id"] == seed_id) for label in labels]
    if name == "teacher":
        return [teacher.get(label["passage_id"], math.nan) for label in labels]
    if name == "rrf" and not any(label["rrf"] for label in labels):  # no ranker ranked them
        return [math.nan] * len(labels)
    scores = [label[_COLUMNS.get(name, name)] for label in labels]
    return [math.nan if score is None else score for score in scores]
