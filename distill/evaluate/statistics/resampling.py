"""Paired bootstrap and permutation resamples of the difference of two models on a task."""

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from distill.errors import need
from distill.evaluate.statistics.f1 import Average, LabelPredictions, make_weighted_f1
from distill.evaluate.statistics.item_parts import GroupNumbers
from distill.evaluate.statistics.rank_metrics import Statistic, Values, WeightedStatistic

BOOTSTRAP_RESAMPLES = 5000
PERMUTATION_RESAMPLES = 9999
WEIGHTED_RESAMPLES = 1999
"""Bootstrap and permutation resamples of a score that is no mean: each computes the score again,
which takes longer."""
_WEIGHTS_PER_BLOCK = 100_000
"""Weights in memory at once: more would not stay in a processor's cache."""


_SMALL_SAMPLE = 50
"""Number of items below which percentile intervals are too narrow: with 20 nDCG-like differences
they contain the true mean in 90 of 100 samples, widened ones in 92 to 93 (BCa in 88)."""
_ALIKE = 1e-9
"""Values nearer than this are alike: their last digits are of the machine."""
_SURE = 0.05


class ResampledDifference(NamedTuple):
    """A difference, as observed, with items resampled, and with the models swapped by
    chance."""

    observed: float
    bootstrap: Values
    permuted: Values


def average_resamples(drawn: Sequence[ResampledDifference]) -> ResampledDifference:
    """Resample a mean of means: draws of independent parts, number by number, as many as all
    have."""
    observed, bootstrap, permuted = zip(*drawn, strict=True)
    return ResampledDifference(
        mean(observed), _average_by_position(bootstrap), _average_by_position(permuted)
    )


def _average_by_position(drawn: Sequence[Values]) -> Values:
    count = min(map(len, drawn))
    means: Values = np.mean([values[:count] for values in drawn], axis=0)
    return means


def resample_items(
    differences: Values,
    rng: np.random.Generator,
    groups: GroupNumbers | None = None,
    lowest: float = -1.0,
) -> ResampledDifference:
    """Resample the mean of (n,) differences of single items; of few, draws are widened.

    Args:
        groups: of items that hang together, which are drawn and swapped together.
        lowest: as of `draw_bootstrap`.
    """
    bootstrap = draw_bootstrap(differences, rng, groups, lowest)
    sums = differences if groups is None else np.bincount(groups, weights=differences)
    # Flips of the signs, as if the models had swapped the item's values; scipy.stats'
    # permutation_test does the same thirty times slower.
    permuted = np.empty(PERMUTATION_RESAMPLES)
    for start in range(0, PERMUTATION_RESAMPLES, 100):
        block = permuted[start : start + 100]
        signs = rng.integers(0, 2, (len(block), len(sums)), dtype=np.int8) * 2 - 1
        block[:] = signs @ sums / len(differences)
    observed = float(differences.mean())
    return ResampledDifference(observed, bootstrap, permuted)


def draw_bootstrap(
    differences: Values,
    rng: np.random.Generator,
    groups: GroupNumbers | None = None,
    lowest: float = -1.0,
) -> Values:
    """Draw means of (n,) differences of single items, with replacement; of few, draws are widened,
    and of ties alone they are what is possible for other items.

    Args:
        groups: of items that hang together, which are drawn together (a cluster bootstrap: Davison
            and Hinkley 1997, 3.8).
        lowest: what an item's value can be at least; at most it is 1.
    """
    observed = float(differences.mean())
    count = len(differences) if groups is None else int(groups.max()) + 1
    if _tell_nothing_of_others(differences, count, is_signed=lowest < 0):
        return _draw_unseen(observed, count, lowest, rng)
    if groups is not None:
        means = draw_group_means(differences, groups, rng)
        return widen_bootstrap(means, observed, count)
    stats = need("scipy.stats", "eval")
    drawn: Any = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=BOOTSTRAP_RESAMPLES,
        batch=100,
        method="percentile",
        rng=rng,
    )
    return widen_bootstrap(drawn.bootstrap_distribution, observed, count)


def draw_group_means(values: Values, groups: GroupNumbers, rng: np.random.Generator) -> Values:
    """Draw groups of items with replacement: the means over their items, (draws,), or (draws,
    figures) of values (n, figures)."""
    sizes = np.bincount(groups)
    sums = np.zeros((len(sizes), *values.shape[1:]))
    np.add.at(sums, groups, values)
    means = np.empty((BOOTSTRAP_RESAMPLES, *values.shape[1:]))
    for start in range(0, BOOTSTRAP_RESAMPLES, 100):
        chosen = rng.integers(0, len(sizes), (100, len(sizes)))
        drawn = sizes[chosen].sum(axis=1).reshape(-1, *[1] * (values.ndim - 1))
        means[start : start + 100] = sums[chosen].sum(axis=1) / drawn
    return means


def _tell_nothing_of_others(values: Values, count: int, is_signed: bool) -> bool:
    """Tell whether few items are all alike, so that a bootstrap sees no spread: scores, ties, or
    differences so few that even their common sign may be chance (2 ** (1 - n) by swaps)."""
    if count >= _SMALL_SAMPLE or np.ptp(values) >= _ALIKE:
        return False
    is_tie = abs(float(values[0])) < _ALIKE
    return not is_signed or is_tie or 2.0 ** (1 - count) > _SURE


def _draw_unseen(value: float, count: int, lowest: float, rng: np.random.Generator) -> Values:
    """Draw what the mean may be where all of `count` items have the same value, in which a
    bootstrap sees no spread. That says that other items are rare, not that there are none: up to a
    share of 1 - 0.05 ** (1 / count) of them would stay unseen in one of twenty samples (the exact
    "rule of three": Hanley and Lippman-Hand 1983), and their values may be any. The draws are
    normal, so that their 95 % interval ends where such a share can take the mean."""
    share = 1 - _SURE ** (1 / count)
    normal = need("scipy.stats", "eval").norm
    quantiles = np.linspace(0, 1, BOOTSTRAP_RESAMPLES).clip(1e-4, 1 - 1e-4)
    spread = rng.permutation(normal.ppf(quantiles)) / normal.ppf(0.975)
    reach = np.where(spread < 0, max(0.0, value - lowest), max(0.0, 1 - value))
    drawn: Values = value + share * reach * spread
    return drawn


def widen_bootstrap(bootstrap: Values, observed: Values | float, count: int) -> Values:
    """Stretch the draws about what was observed, for the bootstrap leaves out that the spread
    itself is estimated: by sqrt(n / (n - 1)) and a t quantile instead of the normal one (the
    expanded percentile interval: Hesterberg 2015, What Teachers Should Know About the Bootstrap,
    5.3). From 50 items on the draws stay as they are.

    Args:
        bootstrap: (draws,) of one figure, or (draws, figures).
        count: of the items that are drawn.
    """
    if count >= _SMALL_SAMPLE:
        return bootstrap
    stats = need("scipy.stats", "eval")
    quantiles = stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975)
    stretched: Values = observed + np.sqrt(count / (count - 1)) * quantiles * (bootstrap - observed)
    return stretched


def resample_pairs(
    statistic: Statistic, gold: Values, ours: Values, theirs: Values, rng: np.random.Generator
) -> ResampledDifference:
    """Resample a statistic of (n,) predictions with (n,) gold values. The models swap ranks, not
    predictions: cosines of different models have different scales, which no permutation may mix."""
    stats = need("scipy.stats", "eval")
    ranks = np.concatenate([stats.rankdata(ours), stats.rankdata(theirs)])
    both = statistic(np.concatenate([gold, gold]), ranks)
    return _resample_weighted(statistic(gold, ours), statistic(gold, theirs), both, len(gold), rng)


def resample_labels(
    average: Average, ours: LabelPredictions, theirs: LabelPredictions, rng: np.random.Generator
) -> ResampledDifference:
    """Resample an F1 of the labels that two models' classifiers gave to the same texts; the models
    swap all that they gave to a text."""
    f1_of_ours, f1_of_theirs = make_weighted_f1(ours, average), make_weighted_f1(theirs, average)
    f1_of_both = make_weighted_f1(ours.concatenate(theirs), average)
    return _resample_weighted(f1_of_ours, f1_of_theirs, f1_of_both, len(ours.gold), rng)


def _resample_weighted(
    ours: WeightedStatistic,
    theirs: WeightedStatistic,
    both: WeightedStatistic,
    count: int,
    rng: np.random.Generator,
) -> ResampledDifference:
    """Resample two models' statistics of weighted items, and that of both models' items, ours
    first; of few items, draws are widened."""

    def draw_bootstrap(size: int) -> Values:
        drawn = rng.integers(0, count, (count, size)) * size + np.arange(size)
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(count, size)
        weights = times.astype(np.float64)
        return ours(weights) - theirs(weights)

    def draw_permutations(size: int) -> Values:
        kept = rng.integers(0, 2, (count, size)).astype(np.float64)
        one, other = np.concatenate([kept, 1 - kept]), np.concatenate([1 - kept, kept])
        return both(one) - both(other)

    once = np.ones((count, 1))
    observed = float(ours(once)[0] - theirs(once)[0])
    return ResampledDifference(
        observed,
        widen_bootstrap(_run_in_blocks(draw_bootstrap, WEIGHTED_RESAMPLES, count), observed, count),
        _run_in_blocks(draw_permutations, WEIGHTED_RESAMPLES, 2 * count),
    )


def resample_t_distribution(differences: Values, rng: np.random.Generator) -> ResampledDifference:
    """Resample the mean of (n,) differences on n samples of one set, drawn alike for both models: a
    bootstrap that the task itself has made, too small for percentiles. Its standard deviation is
    the difference's standard error, with which a t distribution stands for the missing draws."""
    error, freedom = differences.std(ddof=1), len(differences) - 1
    observed = float(differences.mean())
    bootstrap = observed + error * rng.standard_t(freedom, BOOTSTRAP_RESAMPLES)
    return ResampledDifference(
        observed, bootstrap, error * rng.standard_t(freedom, PERMUTATION_RESAMPLES)
    )


def _run_in_blocks(some: Callable[[int], Values], count: int, width: int) -> Values:
    size = max(8, min(100, _WEIGHTS_PER_BLOCK // width))
    return np.concatenate([some(min(size, count - i)) for i in range(0, count, size)])
