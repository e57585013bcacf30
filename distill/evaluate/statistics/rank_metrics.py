"""Scores that are no mean over items: a rank correlation, an average precision. They are computed
of weighted items, many weightings at once: what a bootstrap draws (an item n times) and what a
permutation swaps (an item or its double) are weights, and values are sorted once for all draws."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
WeightedStatistic = Callable[[Values], Values]
"""(n, draws) weights to (draws,) scores."""
Statistic = Callable[[Values, Values], WeightedStatistic]
"""Of (n,) gold and (n,) predicted values."""
StatisticName = Literal["spearman", "average_precision"]

EPSILON = 1e-12
"""Replaces a divisor of zero: a draw of equal values has no correlation, and one
without a positive no precision; both count as zero."""


def make_spearman(gold: Values, predicted: Values) -> WeightedStatistic:
    """Compute Spearman's correlation."""
    ranks_of_gold, ranks_of_predicted = _compute_midranks(gold), _compute_midranks(predicted)

    def compute_weighted(weights: Values) -> Values:
        x, y, total = ranks_of_gold(weights), ranks_of_predicted(weights), weights.sum(axis=0)
        weighted_x, weighted_y = weights * x, weights * y
        mean_x, mean_y = weighted_x.sum(axis=0) / total, weighted_y.sum(axis=0) / total
        covariance = np.einsum("nd,nd->d", weighted_x, y) / total - mean_x * mean_y
        of_x = np.einsum("nd,nd->d", weighted_x, x) / total - mean_x**2
        of_y = np.einsum("nd,nd->d", weighted_y, y) / total - mean_y**2
        scores: Values = covariance / np.sqrt(np.maximum(of_x * of_y, EPSILON))
        return scores

    return compute_weighted


def make_average_precision(gold: Values, predicted: Values) -> WeightedStatistic:
    """Average precision of labels, 0 or 1, in the descending order of the predictions. Equal ones
    are one step, as in scikit-learn."""
    order, starts, _ = _group_equal_values(-predicted)
    labels = gold[order, None]

    def compute_weighted(weights: Values) -> Values:
        ordered = weights[order]
        of_step, right = _sum_groups(ordered, starts), _sum_groups(ordered * labels, starts)
        precision = right.cumsum(axis=0) / np.maximum(of_step.cumsum(axis=0), EPSILON)
        scores: Values = (right * precision).sum(axis=0) / np.maximum(right.sum(axis=0), EPSILON)
        return scores

    return compute_weighted


STATISTICS: dict[StatisticName, Statistic] = {
    "spearman": make_spearman,
    "average_precision": make_average_precision,
}


def compute_unweighted(statistic: Statistic, gold: Values, predicted: Values) -> float:
    """Compute it with every item once."""
    return float(statistic(gold, predicted)(np.ones((len(gold), 1)))[0])


def _compute_midranks(values: Values) -> WeightedStatistic:
    """Compute the midranks of the items as often as they are weighted, counted from the middle: (n,
    draws)."""
    order, starts, group = _group_equal_values(values)

    def compute_weighted(weights: Values) -> Values:
        of_group = _sum_groups(weights[order], starts)
        ranks = of_group.cumsum(axis=0)
        ranks -= of_group / 2
        ranks -= ranks[-1] / 2  # small numbers, whose squares lose no digits
        scores: Values = ranks[group]
        return scores

    return compute_weighted


def _group_equal_values(
    values: Values,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the ascending order, where in it each group of equal values starts, and each item's
    group."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    return order, np.cumsum([0, *counts[:-1]]), group


def _sum_groups(ordered: Values, starts: NDArray[np.intp]) -> Values:
    """Sum each group."""
    return ordered if len(starts) == len(ordered) else np.add.reduceat(ordered, starts, axis=0)
