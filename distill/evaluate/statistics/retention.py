"""The uncertainty of the share of the teacher's score that a student keeps: a paired bootstrap of
the ratio."""

import zlib
from collections.abc import Collection, Mapping

import numpy as np

from distill.evaluate.statistics.item_parts import (
    NO_GROUPS_OF_TASKS,
    AnswerGroups,
    ItemPart,
    split_parts,
)
from distill.evaluate.statistics.rank_metrics import Values
from distill.evaluate.statistics.resampling import (
    BOOTSTRAP_RESAMPLES,
    draw_group_means,
    widen_bootstrap,
)
from distill.evaluate.summary import Retention

ItemValues = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By task, by item ("split/subset/id"), by role: the values of `items.json`."""


def estimate_retention(
    values: ItemValues,
    tasks: Collection[str],
    groups: Mapping[str, AnswerGroups] = NO_GROUPS_OF_TASKS,
    seed: int = 0,
) -> Retention | None:
    """Estimate the share of the teacher's score that the student keeps, with a 95 % percentile
    interval of a bootstrap that draws items within their task, split and language, the same ones
    for both models (Efron and Tibshirani 1993, section 10). Both models are drawn: a teacher that
    is itself known from few items makes the interval wide. Draws of few items are widened. What
    hangs together is drawn together, as in `compare_scores`.

    Returns None where a task has no values of single items of both, where some part has fewer than
    two that do not hang together, or where the teacher's score is 0 or less in some draw.

    Args:
        tasks: all tasks of the comparison: the share is of the mean over them.
        groups: of queries that ask for the same documents, by task.
    """
    parts = [
        (task, part)
        for task in tasks
        for part in _split_parts(values.get(task, {}), groups.get(task, {}))
    ]
    if not parts or any(not len(part.values) or part.draws < 2 for _, part in parts):
        return None
    weights = _weigh_parts([task for task, _ in parts])
    observed = np.zeros(2)
    drawn = np.zeros((BOOTSTRAP_RESAMPLES, 2))
    names: dict[object, str] = {}
    for (task, part), weight in zip(parts, weights, strict=True):
        name = names.setdefault((part.ids, part.grouping), f"{task}/{part.name}")
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        observed += weight * part.values.mean(axis=0)
        drawn += weight * _draw_means(part, rng)
    if min(observed[1], drawn[:, 1].min()) <= 0:
        return None
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    count = sum(len(part.values) for _, part in parts)
    share = round(float(observed[0] / observed[1]), 6)
    return {
        "share": share,
        "low": round(float(low), 6),
        "high": round(float(high), 6),
        "items": count,
    }


def _split_parts(items: Mapping[str, Mapping[str, float]], groups: AnswerGroups) -> list[ItemPart]:
    """Return, by split and language, the values of student and teacher (n, 2); an empty part where
    an item lacks one of them, or there is none."""
    if not items or any("student" not in of or "teacher" not in of for of in items.values()):
        return [ItemPart("", (), np.zeros((0, 2)), None)]
    both = {item: (of["student"], of["teacher"]) for item, of in items.items()}
    return split_parts(both, groups)


def _weigh_parts(tasks: list[str]) -> list[float]:
    """Weigh the parts: tasks count the same, and so do the parts of a task."""
    count = len(set(tasks))
    return [1 / (count * tasks.count(task)) for task in tasks]


def _draw_means(part: ItemPart, rng: np.random.Generator) -> Values:
    """Draw the means of student and teacher in every resample of the items (resamples, 2); of few,
    draws are widened."""
    values = part.values
    groups = np.arange(len(values)) if part.groups is None else part.groups
    means = draw_group_means(values, groups, rng)
    return widen_bootstrap(means, values.mean(axis=0), part.draws)
