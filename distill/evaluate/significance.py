"""How sure a difference between two models is: the paired bootstrap over queries."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.errors import need
from distill.evaluate.evaluate import TaskScore

RESAMPLES = 5000


def difference(
    ours: Sequence[TaskScore], theirs: Sequence[TaskScore], seed: int = 0
) -> dict[str, float | int] | None:
    """Mean difference ours - theirs in nDCG@10 with its 95 % interval (percentile bootstrap).

    Queries are resampled in pairs, the same for both models, and within their task; the statistic
    is the mean over tasks of the mean over queries, as the table has it. None where a task's
    scores of single queries are not there, or are fewer than two.
    """
    pairs = zip(ours, theirs, strict=True)
    samples = [_paired(mine, other) for mine, other in pairs]
    if not samples or any(len(sample) < 2 for sample in samples):
        return None
    stats = need("scipy.stats", "eval")
    interval = stats.bootstrap(
        samples,
        _mean_of_means,
        n_resamples=RESAMPLES,
        batch=100,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return {
        "difference": round(float(_mean_of_means(*samples)), 6),
        "low": round(float(interval.low), 6),
        "high": round(float(interval.high), 6),
        "queries": sum(len(sample) for sample in samples),
    }


def _paired(mine: TaskScore, other: TaskScore) -> NDArray[np.float64]:
    if mine.task != other.task or mine.by_query.keys() != other.by_query.keys():
        raise ValueError(f"not the same queries: {mine.task} and {other.task}")
    queries = sorted(mine.by_query)
    return np.array([mine.by_query[q] - other.by_query[q] for q in queries], dtype=np.float64)


def _mean_of_means(*samples: NDArray[np.float64], axis: int = -1) -> Any:
    return np.mean([np.mean(sample, axis=axis) for sample in samples], axis=0)
