"""How sure a difference between two models is: the paired bootstrap and the paired permutation
test over items (queries, texts), corrected for the number of tasks."""

import zlib
from collections.abc import Mapping, Sequence
from statistics import mean

import numpy as np

from distill.evaluate.samples import labels
from distill.evaluate.samples.labels import average_of
from distill.evaluate.samples.pairs import by_part, statistic_of
from distill.evaluate.score import TaskScore
from distill.evaluate.statistics import resampling
from distill.evaluate.statistics.rank_metrics import STATISTICS, Values
from distill.evaluate.statistics.resampling import ResampledDifference
from distill.evaluate.summary import Difference, Differences

_SAME = 1e-9
"""Values of an item nearer than this are a tie: their last digits are of the machine."""


def differences(
    ours: Sequence[TaskScore], theirs: Sequence[TaskScore], seed: int = 0
) -> Differences:
    """Ours - theirs on each task, and overall: the mean over tasks, as the table has it.

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
    by_task = {mine.task: _draw(mine, their, seed) for mine, their in pairs}
    tasks = {mine.task: _difference(None, None) for mine in ours}
    tasks |= {mine.task: _of_task(mine, their, by_task[mine.task]) for mine, their in pairs}
    corrected = holm({task: of["p"] for task, of in tasks.items() if of["p"] is not None})
    for task, p in corrected.items():
        tasks[task]["p_holm"] = p
    return {"overall": _overall(tasks, [*by_task.values()]), "tasks": tasks}


def seed_differences(
    ours: Sequence[Sequence[TaskScore]], theirs: Sequence[Sequence[TaskScore]], seed: int = 0
) -> Difference:
    """Ours - theirs, the mean over tasks and over the seeds that both were trained with, a list of
    scores each; the n-th of ours is beside the n-th of theirs, or beside their only one.

    The interval is of a bootstrap that draws items and seeds: items within their task as
    `differences` does, the same ones for all seeds, and as many seeds as there are, with
    replacement, the same ones for all tasks: a student that fell well did so on each. With one seed
    it is that of items alone. `p` is of swaps of items, in all seeds together: that the seeds
    happened to fall so is not in it. Without values of single items on some task there is the
    difference alone.
    """
    count = max(len(ours), len(theirs))
    pairs = [
        (mine, their)
        for n in range(count)
        for mine, their in [(ours[n % len(ours)], {s.task: s for s in theirs[n % len(theirs)]})]
    ]
    each, by_task = [], []
    for number, task in enumerate(score.task for score in ours[0]):
        of_task = [(mine[number], their[task]) for mine, their in pairs]
        each.append(mean(mine.score - their.score for mine, their in of_task))
        draws = [_draw(mine, their, seed) for mine, their in of_task]
        known = [draw for draw in draws if draw is not None]
        if len(known) == count:
            by_task.append(resampling.of_seeds(known, np.random.default_rng([seed, count])))
    whole = len(by_task) == len(each)
    return _difference(mean(each), resampling.mean_of(by_task) if whole else None)


def _overall(
    tasks: Mapping[str, Difference], by_task: Sequence[ResampledDifference | None]
) -> Difference:
    each = [of["difference"] for of in tasks.values() if of["difference"] is not None]
    if len(each) < len(tasks):
        return _difference(None, None)
    known = [of for of in by_task if of is not None]
    if len(known) < len(tasks):
        return _difference(mean(each), None)
    found = _difference(mean(each), resampling.mean_of(known))
    found["items"] = sum(of["items"] or 0 for of in tasks.values())
    return found


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: the chance of one false alarm among all is kept."""
    corrected, least = {}, 0.0
    for rank, task in enumerate(sorted(p, key=lambda task: p[task])):
        least = max(least, min(1.0, (len(p) - rank) * p[task]))
        corrected[task] = round(least, 6)
    return corrected


def _paired(ours: Mapping[str, float], theirs: Mapping[str, float], task: str) -> list[Values]:
    """Differences of the items, an array for each split and language, each of which counts the
    same in a task's score. Empty without values of single items on either side."""
    if not ours or not theirs:
        return []
    if ours.keys() != theirs.keys():
        raise ValueError(f"not the same items of {task}")
    parts: dict[tuple[str, ...], list[float]] = {}
    for item in sorted(ours):
        parts.setdefault(tuple(item.split("/", 2)[:2]), []).append(ours[item] - theirs[item])
    return [np.array(part) for part in parts.values()]


def _draw(mine: TaskScore, their: TaskScore, seed: int) -> ResampledDifference | None:
    # A task's figures do not depend on which other tasks there are.
    rng = np.random.default_rng([seed, zlib.crc32(mine.task.encode())])
    if mine.pairs and their.pairs:
        return _drawn_of_pairs(mine, their, rng)
    if mine.labels and their.labels:
        return _drawn_of_labels(mine, their, rng)
    draw = resampling.of_resamples if mine.resamples and their.resamples else resampling.of_items
    samples = _paired(mine.by_item or mine.resamples, their.by_item or their.resamples, mine.task)
    if not samples or any(len(sample) < 2 for sample in samples):
        return None
    return resampling.mean_of([draw(sample, rng) for sample in samples])


def _drawn_of_pairs(
    mine: TaskScore, their: TaskScore, rng: np.random.Generator
) -> ResampledDifference | None:
    name = statistic_of(mine.category, mine.metric)
    ours, theirs = by_part(mine.pairs), by_part(their.pairs)
    if any(not np.array_equal(ours[part][0], theirs[part][0]) for part in ours | theirs):
        raise ValueError(f"not the same pairs of {mine.task}")
    if name is None or any(len(gold) < 2 for gold, _ in ours.values()):
        return None
    each = [
        resampling.of_pairs(STATISTICS[name], gold, predicted, theirs[part][1], rng)
        for part, (gold, predicted) in ours.items()
    ]
    return resampling.mean_of(each)


def _drawn_of_labels(
    mine: TaskScore, their: TaskScore, rng: np.random.Generator
) -> ResampledDifference | None:
    average = average_of(mine.category, mine.metric)
    ours, theirs = labels.by_part(mine.labels), labels.by_part(their.labels)
    if {part: told.gold for part, told in ours.items()} != {
        part: told.gold for part, told in theirs.items()
    }:
        raise ValueError(f"not the same labels of {mine.task}")
    if average is None or any(len(told.gold) < 2 for told in ours.values()):
        return None
    return resampling.mean_of(
        [resampling.of_labels(average, told, theirs[part], rng) for part, told in ours.items()]
    )


def _of_task(mine: TaskScore, their: TaskScore, of: ResampledDifference | None) -> Difference:
    found = _difference(mine.score - their.score, of)
    found["items"] = None if of is None else mine.items
    if samples := _paired(mine.by_item, their.by_item, mine.task):
        values = np.concatenate(samples)
        wins, losses = int((values > _SAME).sum()), int((values < -_SAME).sum())
        found["wins"], found["losses"] = wins, losses
        found["ties"] = len(values) - wins - losses
        found["items"] = len(values)
    return found


def _difference(difference: float | None, of: ResampledDifference | None) -> Difference:
    found: Difference = {
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
        # A hair's breadth: sums in another order are not another difference.
        extreme = int((np.abs(of.flipped) >= abs(of.observed) - 1e-12).sum())
        found["low"], found["high"] = round(float(low), 6), round(float(high), 6)
        found["p"] = round((extreme + 1) / (len(of.flipped) + 1), 6)
    return found
