"""How sure a difference between two models is: the paired bootstrap and the paired permutation
test over items (queries, texts), corrected for the number of tasks."""

import zlib
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.errors import need
from distill.evaluate.evaluate import TaskScore
from distill.evaluate.summary import Difference, Differences

RESAMPLES = 5000
FLIPS = 9999
_SAME = 1e-9
"""Values of an item nearer than this are a tie: their last digits are of the machine."""

Values = NDArray[np.float64]


class Drawn(NamedTuple):
    """A mean difference, as observed, with items drawn anew, and with signs drawn by chance."""

    observed: float
    bootstrap: Values
    flipped: Values


def differences(
    ours: Sequence[TaskScore], theirs: Sequence[TaskScore], seed: int = 0
) -> Differences:
    """Ours - theirs on each task, and overall: the mean over tasks, as the table has it.

    Items are paired, and drawn within their task, split and language. `low` and `high` are the
    95 % interval of the percentile bootstrap; `p` is two-sided, from random flips of the
    differences' signs (9,999: no smaller than 0.0001), and `p_holm` is corrected over the tasks
    (Holm 1979). A task without values of single items has the difference alone, and so has the
    overall mean that it is part of; without their score on some task there is neither.
    """
    other = {score.task: score for score in theirs}
    pairs = [(mine, other[mine.task]) for mine in ours if mine.task in other]
    drawn = {mine.task: _draw(_paired(mine, their), mine.task, seed) for mine, their in pairs}
    tasks = {mine.task: _difference(None, None) for mine in ours}
    tasks |= {mine.task: _of_task(mine, their, drawn[mine.task]) for mine, their in pairs}
    corrected = holm({task: of["p"] for task, of in tasks.items() if of["p"] is not None})
    for task, p in corrected.items():
        tasks[task]["p_holm"] = p
    return {"overall": _overall(tasks, [*drawn.values()]), "tasks": tasks}


def _overall(tasks: Mapping[str, Difference], drawn: Sequence[Drawn | None]) -> Difference:
    each = [of["difference"] for of in tasks.values() if of["difference"] is not None]
    if len(each) < len(tasks):
        return _difference(None, None)
    known = [of for of in drawn if of is not None]
    if len(known) < len(tasks):
        return _difference(mean(each), None)
    found = _difference(mean(each), _mean(known))
    found["items"] = sum(of["items"] or 0 for of in tasks.values())
    return found


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: the chance of one false alarm among all is kept."""
    corrected, least = {}, 0.0
    for rank, task in enumerate(sorted(p, key=lambda task: p[task])):
        least = max(least, min(1.0, (len(p) - rank) * p[task]))
        corrected[task] = round(least, 6)
    return corrected


def _paired(mine: TaskScore, their: TaskScore) -> list[Values]:
    """Differences of the items, an array for each split and language, each of which counts the
    same in a task's score. Empty without values of single items on either side."""
    if not mine.by_item or not their.by_item:
        return []
    if mine.by_item.keys() != their.by_item.keys():
        raise ValueError(f"not the same items of {mine.task}")
    parts: dict[tuple[str, ...], list[float]] = {}
    for item in sorted(mine.by_item):
        of = parts.setdefault(tuple(item.split("/", 2)[:2]), [])
        of.append(mine.by_item[item] - their.by_item[item])
    return [np.array(part) for part in parts.values()]


def _draw(samples: list[Values], task: str, seed: int) -> Drawn | None:
    if not samples or any(len(sample) < 2 for sample in samples):
        return None
    # A task's figures do not depend on which other tasks there are.
    rng = np.random.default_rng([seed, zlib.crc32(task.encode())])
    each = [
        Drawn(float(sample.mean()), _bootstrap(sample, rng), _flipped(sample, rng))
        for sample in samples
    ]
    return _mean(each)


def _mean(drawn: Sequence[Drawn]) -> Drawn:
    """Of a mean of means: draws of independent parts, number by number."""
    observed, bootstrap, flipped = zip(*drawn, strict=True)
    return Drawn(mean(observed), np.mean(bootstrap, axis=0), np.mean(flipped, axis=0))


def _bootstrap(sample: Values, rng: np.random.Generator) -> Values:
    stats = need("scipy.stats", "eval")
    found: Any = stats.bootstrap(
        (sample,), np.mean, n_resamples=RESAMPLES, batch=100, method="percentile", rng=rng
    )
    drawn: Values = found.bootstrap_distribution
    return drawn


def _flipped(sample: Values, rng: np.random.Generator) -> Values:
    """Means with each sign by chance, as if the models had swapped the item's values.
    scipy.stats.permutation_test does the same thirty times slower."""
    means = np.empty(FLIPS)
    for start in range(0, FLIPS, 100):
        block = means[start : start + 100]
        signs = rng.integers(0, 2, (len(block), len(sample)), dtype=np.int8) * 2 - 1
        block[:] = signs @ sample / len(sample)
    return means


def _of_task(mine: TaskScore, their: TaskScore, drawn: Drawn | None) -> Difference:
    found = _difference(mine.score - their.score, drawn)
    samples = _paired(mine, their)
    if samples:
        values = np.concatenate(samples)
        wins, losses = int((values > _SAME).sum()), int((values < -_SAME).sum())
        found["wins"], found["losses"] = wins, losses
        found["ties"] = len(values) - wins - losses
        found["items"] = len(values)
    return found


def _difference(difference: float | None, drawn: Drawn | None) -> Difference:
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
    if drawn is not None:
        low, high = np.percentile(drawn.bootstrap, [2.5, 97.5])
        # A hair's breadth: sums in another order are not another difference.
        extreme = int((np.abs(drawn.flipped) >= abs(drawn.observed) - 1e-12).sum())
        found["low"], found["high"] = round(float(low), 6), round(float(high), 6)
        found["p"] = round((extreme + 1) / (FLIPS + 1), 6)
    return found
