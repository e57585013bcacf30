"""The uncertainty of the share of the teacher's score that a student keeps: a paired bootstrap of
the ratio."""

import zlib
from collections.abc import Collection, Mapping

import numpy as np

from distill.evaluate.statistics.rank_metrics import Values
from distill.evaluate.statistics.resampling import BOOTSTRAP_RESAMPLES, widen_bootstrap
from distill.evaluate.summary import Retention

ItemValues = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By task, by item ("split/subset/id"), by role: the values of `items.json`."""
_DRAWS_AT_ONCE = 100


def estimate_retention(
    values: ItemValues, tasks: Collection[str], seed: int = 0
) -> Retention | None:
    """Estimate the share of the teacher's score that the student keeps, with a 95 % percentile
    interval of a bootstrap that draws items within their task, split and language, the same ones
    for both models (Efron and Tibshirani 1993, section 10). Both models are drawn: a teacher that
    is itself known from few items makes the interval wide. Draws of few items are widened.

    Returns None where a task has no values of single items of both, where some part has fewer than
    two, or where the teacher's score is 0 or less in some draw.

    Args:
        tasks: all tasks of the comparison: the share is of the mean over them.
    """
    parts = [part for task in tasks for part in _split_parts(task, values.get(task, {}))]
    if not parts or any(len(part) < 2 for _, _, part in parts):
        return None
    weights = _weigh_parts([task for task, _, _ in parts])
    observed = np.zeros(2)
    drawn = np.zeros((BOOTSTRAP_RESAMPLES, 2))
    for (task, name, part), weight in zip(parts, weights, strict=True):
        rng = np.random.default_rng([seed, zlib.crc32(f"{task}/{name}".encode())])
        observed += weight * part.mean(axis=0)
        drawn += weight * _draw_means(part, rng)
    if min(observed[1], drawn[:, 1].min()) <= 0:
        return None
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    count = sum(len(part) for _, _, part in parts)
    share = round(float(observed[0] / observed[1]), 6)
    return {
        "share": share,
        "low": round(float(low), 6),
        "high": round(float(high), 6),
        "items": count,
    }


def _split_parts(
    task: str, items: Mapping[str, Mapping[str, float]]
) -> list[tuple[str, str, Values]]:
    """Return, by split and language, the values of student and teacher (n, 2); an empty part where
    an item lacks one of them."""
    by_part: dict[str, list[tuple[float, float]]] = {}
    for item in sorted(items):
        of = items[item]
        if "student" not in of or "teacher" not in of:
            return [(task, "", np.zeros((0, 2)))]
        by_part.setdefault("/".join(item.split("/", 2)[:2]), []).append(
            (of["student"], of["teacher"])
        )
    return [(task, name, np.array(part)) for name, part in by_part.items()] or [
        (task, "", np.zeros((0, 2)))
    ]


def _weigh_parts(tasks: list[str]) -> list[float]:
    """Weigh the parts: tasks count the same, and so do the parts of a task."""
    count = len(set(tasks))
    return [1 / (count * tasks.count(task)) for task in tasks]


def _draw_means(part: Values, rng: np.random.Generator) -> Values:
    """Draw the means of student and teacher in every resample of the items (resamples, 2); of few,
    draws are widened."""
    means = np.empty((BOOTSTRAP_RESAMPLES, 2))
    for start in range(0, BOOTSTRAP_RESAMPLES, _DRAWS_AT_ONCE):
        chosen = rng.integers(0, len(part), (_DRAWS_AT_ONCE, len(part)))
        means[start : start + _DRAWS_AT_ONCE] = part[chosen].mean(axis=1)
    return widen_bootstrap(means, part.mean(axis=0), len(part))
