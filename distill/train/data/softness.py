"""Measure how soft the distributions are that a student learns from soft scores, and which
temperature would leave something to learn."""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

HARD = 0.97
"""Mean top probability above which nothing is soft."""
FLAT = 0.98
"""Share of the entropy of uniform lists above which nothing is learnt."""
_WANTED = 0.5
"""Share of the entropy of uniform lists at which a temperature is proposed: half way between one
candidate and all of them."""
_SAMPLE = 2000
"""Most lists by which a temperature is proposed."""
_CHUNK = 4096
"""Lists whose distributions are in memory at a time."""

Targets = Callable[[Tensor, float], Tensor]
"""Makes distributions of (lists, candidates) scores, NaN where unknown, at a temperature."""


class TargetSoftness(NamedTuple):
    """Measures of `lists` target distributions: the likeliest candidate's probability, the entropy
    in nats, and the effective number of candidates, which is exp(entropy), of `candidates`; means,
    and medians. At a top probability near 1 they say which candidate is right, and no more; near
    the entropy of a uniform list, `uniform_entropy`, they say nothing."""

    lists: int
    candidates: float
    top_probability: float
    top_probability_median: float
    entropy: float
    entropy_median: float
    effective_candidates: float
    effective_candidates_median: float
    uniform_entropy: float

    @property
    def is_hard(self) -> bool:
        """Whether hardly any candidate but the first has a probability."""
        return self.top_probability > HARD

    @property
    def is_flat(self) -> bool:
        """Whether all candidates have nearly the same probability."""
        return self.entropy > FLAT * self.uniform_entropy


class SoftnessCheck(NamedTuple):
    """The softness of the target distributions, None where there is no list, and what is wrong with
    it, in words with a remedy, None where nothing is."""

    softness: TargetSoftness | None
    fault: str | None


def check_softness(
    rows: Sequence[Sequence[float]], targets: Targets, temperature: float, key: str
) -> SoftnessCheck:
    """Measure how soft the distributions of these lists of scores are, and look for a better
    temperature where nothing is soft, or nothing is learnt.

    Args:
        key: the recipe's section of the temperature.
    """
    softness = measure_softness(rows, targets, temperature)
    if softness is None or not (softness.is_hard or softness.is_flat):
        return SoftnessCheck(softness, None)
    if softness.is_hard:
        what = (
            "the soft labels are hard: a list's first candidate has the probability "
            f"{softness.top_probability:.3f} on average, and nothing but which one is first is "
            "learnt"
        )
    else:
        share = softness.entropy / softness.uniform_entropy
        what = (
            "the soft labels are flat: all candidates of a list have nearly the same probability "
            f"({share:.1%} of the entropy of equal ones), and nothing is learnt"
        )
    better = propose_temperature(rows, targets)
    remedy = (
        f"set {key}.temperature: {better:g}"
        if better is not None
        else f"name other {key}.scores: no temperature tells these candidates apart softly"
    )
    return SoftnessCheck(softness, f"{what}; {remedy} (now {temperature:g})")


def measure_softness(
    rows: Sequence[Sequence[float]], targets: Targets, temperature: float
) -> TargetSoftness | None:
    """Measure how soft the distributions of these lists of scores are. Lists of fewer than two
    known scores, of which nothing is learnt, do not count; None where there is no other."""
    known = _keep_lists(rows)
    if not known:
        return None
    tops: list[float] = []
    entropies: list[float] = []
    for scores in _iterate_batches(known):
        target = targets(scores, temperature)
        tops += target.amax(1).tolist()
        entropies += torch.special.entr(target).sum(1).tolist()
    effective = [math.exp(entropy) for entropy in entropies]
    uniform = [math.log(len(row)) for row in known]
    figures = [
        fmean(map(len, known)),
        *(
            average(values)
            for values in (tops, entropies, effective)
            for average in (fmean, median)
        ),
        fmean(uniform),
    ]
    return TargetSoftness(len(known), *(round(figure, 4) for figure in figures))


def propose_temperature(rows: Sequence[Sequence[float]], targets: Targets) -> float | None:
    """Find the temperature at which the mean entropy is half of uniform lists', to two digits; None
    where no temperature gives it, as for scores that are all the same."""
    known = _keep_lists(rows)
    if not known:
        return None
    batches = [*_iterate_batches(known[:: math.ceil(len(known) / _SAMPLE)])]
    wanted = _WANTED * fmean(
        math.log(n) for scores in batches for n in (~scores.isnan()).sum(1).tolist()
    )

    def measure_entropy(temperature: float) -> float:
        return fmean(
            entropy
            for scores in batches
            for entropy in torch.special.entr(targets(scores, temperature)).sum(1).tolist()
        )

    low, high = -4.0, 4.0  # powers of 10
    if not measure_entropy(10**low) < wanted < measure_entropy(10**high):
        return None
    for _ in range(20):
        middle = (low + high) / 2
        if measure_entropy(10**middle) < wanted:
            low = middle
        else:
            high = middle
    return float(f"{10**high:.2g}")


def _keep_lists(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Keep the known scores of lists with at least two of them."""
    known = ([score for score in row if not math.isnan(score)] for row in rows)
    return [row for row in known if len(row) > 1]


def _iterate_batches(rows: Sequence[Sequence[float]]) -> Iterator[Tensor]:
    """Yield (lists, candidates) float32, NaN behind the end of a list."""
    for start in range(0, len(rows), _CHUNK):
        batch = rows[start : start + _CHUNK]
        scores = np.full((len(batch), max(map(len, batch))), np.nan, np.float32)
        for place, row in enumerate(batch):
            scores[place, : len(row)] = row
        yield torch.from_numpy(scores)
