"""The uncertainty of a difference between two models: the paired bootstrap and the paired
permutation test over items (queries, texts), corrected for the number of tasks."""

import zlib
from collections.abc import Collection, Mapping, Sequence
from statistics import mean

import numpy as np

from distill.evaluate.samples import labels
from distill.evaluate.samples.labels import get_f1_average
from distill.evaluate.samples.pairs import get_pair_statistic, group_pairs_by_subset
from distill.evaluate.score import TaskScore
from distill.evaluate.statistics import resampling
from distill.evaluate.statistics.rank_metrics import STATISTICS, Values
from distill.evaluate.statistics.resampling import ResampledDifference
from distill.evaluate.statistics.seed_interval import compute_seed_interval
from distill.evaluate.summary import Difference, Differences

_TIE_TOLERANCE = 1e-9
"""Values of an item nearer than this are a tie: their last digits are of the machine."""


def compare_scores(
    ours: Sequence[TaskScore],
    theirs: Sequence[TaskScore],
    seed: int = 0,
    shared: bool = False,
    unaveraged: Collection[str] = (),
) -> Differences:
    """Compare ours - theirs on each task, and overall: the mean over tasks, as the table has it, or
    over the `shared` ones alone, which both have; the `unaveraged` ones are no part of it.

    Items (queries, texts, pairs of texts) are paired, and drawn within their task, split and
    language. `low` and `high` are the 95 % interval of the percentile bootstrap; `p` is two-sided,
    from random swaps of what the models made of an item (9,999, and 1,999 of pairs: no smaller than
    0.0001 or 0.0005), and `p_holm` is corrected over the tasks (Holm 1979). Of clustering mteb has
    drawn ten samples itself: both are of a t distribution there. A task of which nothing single is
    kept has the difference alone, and so has the overall mean that it is part of; without their
    score on some task there is neither.
    """
    other = {score.task: score for score in theirs}
    pairs = [(mine, other[mine.task]) for mine in ours if mine.task in other]
    by_task = {mine.task: _resample(mine, their, seed) for mine, their in pairs}
    tasks = {mine.task: _build_difference(None, None) for mine in ours}
    tasks |= {mine.task: _summarize_task(mine, their, by_task[mine.task]) for mine, their in pairs}
    corrected = correct_holm({task: of["p"] for task, of in tasks.items() if of["p"] is not None})
    for task, p in corrected.items():
        tasks[task]["p_holm"] = p
    draws = {task: drawn for task, drawn in by_task.items() if task not in unaveraged}
    averaged = {
        task: of
        for task, of in tasks.items()
        if task not in unaveraged and (task in draws or not (shared and draws))
    }
    return {"overall": _compute_overall(averaged, [*draws.values()]), "tasks": tasks}


def compare_seeds(
    ours: Sequence[Sequence[TaskScore]], theirs: Sequence[Sequence[TaskScore]], seed: int = 0
) -> Difference:
    """Compare ours - theirs, the mean over tasks and over the seeds that both were trained with, a
    list of scores each; the n-th of ours is beside the n-th of theirs, or beside their only one.

    Interval and `p` are of both items and seeds (`compute_seed_interval`): items are drawn within
    their task as `compare_scores` does, the same ones for all seeds, and the spread of seeds is
    that of their means over tasks, for a student that fell well did so on each. With one seed both
    are of items alone. Without values of single items on some task there is the difference alone.
    """
    count = max(len(ours), len(theirs))
    pairs = [
        (ours[n % len(ours)], {score.task: score for score in theirs[n % len(theirs)]})
        for n in range(count)
    ]
    by_seed = [mean(of.score - other[of.task].score for of in mine) for mine, other in pairs]
    draws = [_resample(of, other[of.task], seed) for mine, other in pairs for of in mine]
    known = [draw for draw in draws if draw is not None]
    if len(known) < len(draws):
        return _build_difference(mean(by_seed), None)
    resampled = resampling.average_resamples(known)
    difference = _build_difference(mean(by_seed), resampled)
    if count > 1:
        interval = compute_seed_interval(by_seed, resampled.bootstrap)
        difference["low"], difference["high"] = round(interval.low, 6), round(interval.high, 6)
        difference["p"] = round(interval.p, 6)
    return difference


def _compute_overall(
    tasks: Mapping[str, Difference], by_task: Sequence[ResampledDifference | None]
) -> Difference:
    each = [of["difference"] for of in tasks.values() if of["difference"] is not None]
    if len(each) < len(tasks):
        return _build_difference(None, None)
    known = [of for of in by_task if of is not None]
    if len(known) < len(tasks):
        return _build_difference(mean(each), None)
    difference = _build_difference(mean(each), resampling.average_resamples(known))
    difference["items"] = sum(of["items"] or 0 for of in tasks.values())
    return difference


def correct_holm(p: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values by Holm's step-down method: the chance of one false alarm among all is
    kept."""
    corrected, least = {}, 0.0
    for rank, task in enumerate(sorted(p, key=lambda task: p[task])):
        least = max(least, min(1.0, (len(p) - rank) * p[task]))
        corrected[task] = round(least, 6)
    return corrected


def _pair_items(ours: Mapping[str, float], theirs: Mapping[str, float], task: str) -> list[Values]:
    """Compute the differences of the items, an array for each split and language, each of which
    counts the same in a task's score. Empty without values of single items on either side."""
    if not ours or not theirs:
        return []
    if ours.keys() != theirs.keys():
        raise ValueError(f"not the same items of {task}")
    parts: dict[tuple[str, ...], list[float]] = {}
    for item in sorted(ours):
        parts.setdefault(tuple(item.split("/", 2)[:2]), []).append(ours[item] - theirs[item])
    return [np.array(part) for part in parts.values()]


def _resample(mine: TaskScore, their: TaskScore, seed: int) -> ResampledDifference | None:
    # A task's figures do not depend on which other tasks there are.
    rng = np.random.default_rng([seed, zlib.crc32(mine.task.encode())])
    if mine.pairs and their.pairs:
        return _resample_pairs(mine, their, rng)
    if mine.labels and their.labels:
        return _resample_labels(mine, their, rng)
    draw = (
        resampling.resample_t_distribution
        if mine.resamples and their.resamples
        else resampling.resample_items
    )
    samples = _pair_items(
        mine.by_item or mine.resamples, their.by_item or their.resamples, mine.task
    )
    if not samples or any(len(sample) < 2 for sample in samples):
        return None
    return resampling.average_resamples([draw(sample, rng) for sample in samples])


def _resample_pairs(
    mine: TaskScore, their: TaskScore, rng: np.random.Generator
) -> ResampledDifference | None:
    name = get_pair_statistic(mine.category, mine.metric)
    ours, theirs = group_pairs_by_subset(mine.pairs), group_pairs_by_subset(their.pairs)
    if any(not np.array_equal(ours[part][0], theirs[part][0]) for part in ours | theirs):
        raise ValueError(f"not the same pairs of {mine.task}")
    if name is None or any(len(gold) < 2 for gold, _ in ours.values()):
        return None
    each = [
        resampling.resample_pairs(STATISTICS[name], gold, predicted, theirs[part][1], rng)
        for part, (gold, predicted) in ours.items()
    ]
    return resampling.average_resamples(each)


def _resample_labels(
    mine: TaskScore, their: TaskScore, rng: np.random.Generator
) -> ResampledDifference | None:
    average = get_f1_average(mine.category, mine.metric)
    ours, theirs = (
        labels.group_labels_by_subset(mine.labels),
        labels.group_labels_by_subset(their.labels),
    )
    if {part: predictions.gold for part, predictions in ours.items()} != {
        part: predictions.gold for part, predictions in theirs.items()
    }:
        raise ValueError(f"not the same labels of {mine.task}")
    if average is None or any(len(predictions.gold) < 2 for predictions in ours.values()):
        return None
    return resampling.average_resamples(
        [
            resampling.resample_labels(average, predictions, theirs[part], rng)
            for part, predictions in ours.items()
        ]
    )


def _summarize_task(
    mine: TaskScore, their: TaskScore, of: ResampledDifference | None
) -> Difference:
    difference = _build_difference(mine.score - their.score, of)
    difference["items"] = None if of is None else mine.items
    if samples := _pair_items(mine.by_item, their.by_item, mine.task):
        values = np.concatenate(samples)
        wins, losses = int((values > _TIE_TOLERANCE).sum()), int((values < -_TIE_TOLERANCE).sum())
        difference["wins"], difference["losses"] = wins, losses
        difference["ties"] = len(values) - wins - losses
        difference["items"] = len(values)
    return difference


def _build_difference(difference: float | None, of: ResampledDifference | None) -> Difference:
    figures: Difference = {
        "difference": None if difference is None else round(difference, 6),
        "low": None,
        "high": None,
        "p": None,
        "p_holm": None,
        "wins": None,
        "ties": None,
        "losses": None,
        "items": None,
    }
    if of is not None:
        low, high = np.percentile(of.bootstrap, [2.5, 97.5])
        # A tolerance: sums in another order are not another difference.
        extreme = int((np.abs(of.permuted) >= abs(of.observed) - 1e-12).sum())
        figures["low"], figures["high"] = round(float(low), 6), round(float(high), 6)
        figures["p"] = round((extreme + 1) / (len(of.permuted) + 1), 6)
    return figures
