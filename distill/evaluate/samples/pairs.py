"""The data that a score of pairs is computed from: each pair's gold value, and the similarity that
the model gave it. A correlation or an average precision is no mean of values of single items, so it
is computed again from these for each resample."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from distill.errors import need
from distill.evaluate.samples.items import read_predictions
from distill.evaluate.statistics.rank_metrics import (
    STATISTICS,
    StatisticName,
    Values,
    compute_unweighted,
)

Pairs = Mapping[str, tuple[float, float]]
"""By split/subset/number: gold and predicted."""

_SIMILARITIES = ("cosine_scores", "similarity_scores", "dot_scores")
_DISTANCES = ("manhattan_distances", "euclidean_distances")
"""mteb's names in a task's predictions."""


def get_pair_statistic(category: str, metric: str) -> StatisticName | None:
    """Return what a main score in this metric is of the pairs; None where it is something else."""
    if category == "STS" and metric.endswith("spearman"):
        return "spearman"
    if category == "PairClassification" and metric.endswith("_ap"):
        return "average_precision"
    return None


def read_pairs(task: Any, folder: Path, score: float) -> dict[str, tuple[float, float]]:
    """Read the pairs, from the predictions that mteb wrote into the folder, by the similarity that
    makes up the score: `max_ap` may be any one's. Empty where none does."""
    name = get_pair_statistic(task.metadata.type, task.metadata.main_score)
    if name is None:
        return {}
    parts = [*read_predictions(task, folder)]
    for kind in (*_SIMILARITIES, *_DISTANCES):
        pairs = _read_similarities(kind, task, parts)
        means = [
            compute_unweighted(STATISTICS[name], *part)
            for part in group_pairs_by_subset(pairs).values()
        ]
        if means and np.isclose(mean(means), score, rtol=0, atol=1e-4):
            return pairs
    return {}


def group_pairs_by_subset(pairs: Pairs) -> dict[str, tuple[Values, Values]]:
    """Group gold and predicted values, by split and subset, which count the same in a task's
    score."""
    parts = {}
    for part, keys in groupby(sorted(pairs), lambda key: key.rpartition("/")[0]):
        gold, read_predictions = zip(*(pairs[key] for key in keys), strict=True)
        parts[part] = np.array(gold, np.float64), np.array(read_predictions, np.float64)
    return parts


def _read_similarities(
    kind: str, task: Any, parts: Sequence[tuple[str, Any, Any]]
) -> dict[str, tuple[float, float]]:
    """Read similarities. Distances that mteb has not turned around (it does for STS) fall with
    likeness."""
    sign = -1 if kind in _DISTANCES and task.metadata.type == "PairClassification" else 1
    pairs = {}
    for part, rows, written in parts:
        if written.get(kind) is None:
            return {}
        for i, (gold, similar) in enumerate(
            zip(_read_gold(task, rows), written[kind], strict=True)
        ):
            pairs[f"{part}/{i}"] = (float(gold), sign * float(similar))
    return pairs


def _read_gold(task: Any, rows: Any) -> list[float]:
    abstasks = need("mteb.abstasks", "eval")
    pairs = isinstance(task, abstasks.AbsTaskPairClassification)
    gold = list(rows[task.label_column_name if pairs else "score"])
    # Pairs in the form of mteb 1: one row that holds them all.
    return list(gold[0]) if len(gold) == 1 and isinstance(gold[0], list) else gold
