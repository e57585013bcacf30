"""The uncertainty of one model's score on a task: a bootstrap over the task's items."""

import zlib
from collections.abc import Iterable, Mapping

import numpy as np

from distill.evaluate.statistics.item_parts import (
    NO_GROUPS,
    NO_GROUPS_OF_TASKS,
    AnswerGroups,
    split_parts,
)
from distill.evaluate.statistics.resampling import (
    ResampledDifference,
    average_resamples,
    resample_items,
)


def estimate_score_interval(
    task: str, by_item: Mapping[str, float], groups: AnswerGroups = NO_GROUPS, seed: int = 0
) -> tuple[float, float] | None:
    """Estimate the 95 % interval of a score that is a mean over items (queries, texts), which are
    drawn within their split and language; widened where they are few, but never beyond 0 and 1, or
    -1 and 1 where items are below 0, as correlations may be. None where no values of single items
    are kept, or a part has fewer than two that do not hang together.

    Args:
        task: its name, which the draws depend on.
        by_item: the scores of single items, by split/subset/id.
        groups: of queries that ask for the same documents, which are drawn together.
    """
    drawn = _draw_task(task, by_item, groups, seed, {})
    return None if drawn is None else _find_bounds(drawn, [by_item])


def estimate_average_interval(
    by_task: Mapping[str, Mapping[str, float]],
    groups: Mapping[str, AnswerGroups] = NO_GROUPS_OF_TASKS,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Estimate the 95 % interval of the mean of a model's scores on several tasks, which count the
    same; as `estimate_score_interval`, and None where it is for one of them. Of tasks that have the
    same items, such as queries in several languages, the same are drawn.

    Args:
        by_task: the scores of single items of each task.
        groups: by task.
    """
    names: dict[object, str] = {}
    drawn = [
        _draw_task(task, by_item, groups.get(task, {}), seed, names)
        for task, by_item in by_task.items()
    ]
    known = [one for one in drawn if one is not None]
    if not drawn or len(known) < len(drawn):
        return None
    return _find_bounds(average_resamples(known), by_task.values())


def _draw_task(
    task: str,
    by_item: Mapping[str, float],
    groups: AnswerGroups,
    seed: int,
    names: dict[object, str],
) -> ResampledDifference | None:
    """Resample a task's score: the mean over its splits and languages.

    Args:
        names: of the draws so far, which parts with the same items share.
    """
    parts = split_parts(by_item, groups)
    if not parts or any(part.draws < 2 for part in parts):
        return None
    draws = []
    for part in parts:
        name = names.setdefault((part.ids, part.grouping), f"{task}/{part.name}")
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        lowest = -1.0 if part.values.min() < 0 else 0.0
        draws.append(resample_items(part.values, rng, part.groups, lowest))
    return average_resamples(draws)


def _find_bounds(
    drawn: ResampledDifference, scores: Iterable[Mapping[str, float]]
) -> tuple[float, float]:
    """Find the interval within the range of the scores: that of correlations where some are below
    0, for no other metric is."""
    lowest = -1.0 if any(score < 0 for of in scores for score in of.values()) else 0.0
    low, high = np.quantile(drawn.bootstrap, [0.025, 0.975])
    return max(float(low), lowest), min(float(high), 1.0)
