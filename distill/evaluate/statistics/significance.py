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
from distill.evaluate.statistics.item_parts import ItemPart, SharedDraws, split_parts
from distill.evaluate.statistics.rank_metrics import STATISTICS
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
    language; queries that ask for the same documents are drawn together, and so is a query that
    several languages, or several tasks, have under the same id. `low` and `high` are the 95 %
    interval of the percentile bootstrap; `p` is two-sided, from random swaps of what the models
    made of an item (9,999, and 1,999 of pairs: no smaller than 0.0001 or 0.0005), and `p_holm` is
    corrected over the tasks (Holm 1979). Of clustering mteb has drawn ten samples itself: both are
    of a t distribution there. A task of which nothing single is kept has the difference alone, and
    so has the overall mean that it is part of; without their score on some task there is neither.
    """
    other = {score.task: score for score in theirs}
    pairs = [(mine, other[mine.task]) for mine in ours if mine.task in other]
    by_task = {mine.task: _resample(mine, their, seed) for mine, their in pairs}
    tasks = {mine.task: _build_difference(None, None) for mine in ours}
    tasks |= {mine.task: _summarize_task(mine, their, by_task[mine.task]) for mine, their in pairs}
    corrected = correct_holm({task: of["p"] for task, of in tasks.items() if of["p"] is not None})
    for task, p in corrected.items():
        tasks[task]["p_holm"] = p
    draws = _draw_together(pairs, by_task, seed)
    draws = {task: drawn for task, drawn in draws.items() if task not in unaveraged}
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
    names = _name_draws(ours[0])
    draws = [
        _resample(of, other[of.task], seed, names[of.task]) for mine, other in pairs for of in mine
    ]
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


def _pair_items(mine: TaskScore, their: TaskScore) -> list[ItemPart]:
    """Compute the differences of the items by split and language, each of which counts the same in
    a task's score. Empty without values of single items on either side."""
    ours, theirs = mine.by_item or mine.resamples, their.by_item or their.resamples
    if not ours or not theirs:
        return []
    if ours.keys() != theirs.keys():
        raise ValueError(f"not the same items of {mine.task}")
    differences = {item: value - theirs[item] for item, value in ours.items()}
    return split_parts(differences, mine.groups or their.groups)


def _name_draws(scores: Sequence[TaskScore]) -> dict[str, str]:
    """Name the draws of each task: by the first task that has items of the same ids, which may be
    the same queries in another language."""
    first: dict[tuple[str, ...], str] = {}
    names = {}
    for score in scores:
        ids = tuple(sorted(score.by_item)) or (score.task,)
        names[score.task] = first.setdefault(ids, score.task)
    return names


def _draw_together(
    pairs: Sequence[tuple[TaskScore, TaskScore]],
    by_task: Mapping[str, ResampledDifference | None],
    seed: int,
) -> dict[str, ResampledDifference | None]:
    """Resample for a mean over tasks those that share their items with an earlier one as that one
    was: what they have in common stays in the spread of the mean. A task's own figures do not
    depend on which other tasks there are."""
    names = _name_draws([mine for mine, _ in pairs])
    return {
        mine.task: by_task[mine.task]
        if names[mine.task] == mine.task
        else _resample(mine, their, seed, names[mine.task])
        for mine, their in pairs
    }


def _resample(
    mine: TaskScore, their: TaskScore, seed: int, name: str | None = None
) -> ResampledDifference | None:
    """Resample a task's difference; None where too little is kept of single items.

    Args:
        name: which the draws depend on: the task's own, or that of one with the same items.
    """
    # A task's figures do not depend on which other tasks there are.
    rng = np.random.default_rng([seed, zlib.crc32((name or mine.task).encode())])
    draws = SharedDraws(rng)
    if mine.pairs and their.pairs:
        return _resample_pairs(mine, their, draws)
    if mine.labels and their.labels:
        return _resample_labels(mine, their, draws)
    parts = _pair_items(mine, their)
    if not parts or any(part.draws < 2 for part in parts):
        return None
    if mine.resamples and their.resamples:
        # Draws that are made up have nothing in common, whatever their numbers.
        each = [resampling.resample_t_distribution(part.values, rng) for part in parts]
        return resampling.average_resamples(each)
    return resampling.average_resamples(
        [
            resampling.resample_items(
                part.values, draws.choose_generator((part.ids, part.grouping)), part.groups
            )
            for part in parts
        ]
    )


def _resample_pairs(
    mine: TaskScore, their: TaskScore, draws: SharedDraws
) -> ResampledDifference | None:
    name = get_pair_statistic(mine.category, mine.metric)
    ours, theirs = group_pairs_by_subset(mine.pairs), group_pairs_by_subset(their.pairs)
    if any(not np.array_equal(ours[part][0], theirs[part][0]) for part in ours | theirs):
        raise ValueError(f"not the same pairs of {mine.task}")
    if name is None or any(len(gold) < 2 for gold, _ in ours.values()):
        return None
    each = [
        resampling.resample_pairs(
            STATISTICS[name], gold, predicted, theirs[part][1], draws.choose_generator(len(gold))
        )
        for part, (gold, predicted) in ours.items()
    ]
    return resampling.average_resamples(each)


def _resample_labels(
    mine: TaskScore, their: TaskScore, draws: SharedDraws
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
            resampling.resample_labels(
                average, predictions, theirs[part], draws.choose_generator(len(predictions.gold))
            )
            for part, predictions in ours.items()
        ]
    )


def _summarize_task(
    mine: TaskScore, their: TaskScore, of: ResampledDifference | None
) -> Difference:
    difference = _build_difference(mine.score - their.score, of)
    difference["items"] = None if of is None else mine.items
    if mine.by_item and their.by_item:
        values = np.concatenate([part.values for part in _pair_items(mine, their)])
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
