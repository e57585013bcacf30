"""What a curve must do for the training to have been one."""

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from scipy.stats import ttest_ind_from_stats

LossCurve = list[dict[str, float]]
_LEAST = 50
"""With fewer lines the loss' noise decides."""
_UNLIKELY = 0.01
"""A loss that only varies is warned of this often."""
_IMPOSSIBLE = 1e-4
"""And this often refused."""


class TrainingCheck(NamedTuple):
    """What is wrong with a training, and whether it is to stop there."""

    what: str
    refuse: bool


def judge_curve(
    curve: Sequence[dict[str, float]], looks: Sequence[dict[str, float]], best: bool
) -> TrainingCheck | None:
    """Whether the loss rose: its last tenth against its first, by Welch's t-test (1947), which
    knows how few the lines are. It is refused where chance cannot have done it, and where the
    validation's nDCG is worse for it too; else it is warned of. None where nothing is wrong.

    Args:
        looks: what was seen of the student, from before the first step on.
        best: whether the weights are those of the best look, not of the last.
    """
    if len(curve) < _LEAST:
        return None
    losses = [line["loss"] for line in curve]
    tenth = len(losses) // 10
    first, last = losses[:tenth], losses[-tenth:]
    chance = _chance_of_rise(first, last)
    if chance >= _UNLIKELY:
        return None
    what = (
        f"the loss rose from {mean(first):.4g} in the first tenth to {mean(last):.4g} in the last"
    )
    what += f" (p = {chance:.1g})"
    before, after = _ndcg(looks, best)
    if after < before:
        return TrainingCheck(f"{what}, and nDCG@10 fell from {before:.4f} to {after:.4f}", True)
    return TrainingCheck(what, chance < _IMPOSSIBLE)


def _chance_of_rise(first: Sequence[float], last: Sequence[float]) -> float:
    """The one-sided p-value of a mean that is higher in `last`."""
    if stdev(first) == stdev(last) == 0:
        return 0.0 if last[0] > first[0] else 1.0
    of_last, of_first = (
        (mean(last), stdev(last), len(last)),
        (mean(first), stdev(first), len(first)),
    )
    test = ttest_ind_from_stats(*of_last, *of_first, equal_var=False, alternative="greater")
    return float(test.pvalue)


def _ndcg(looks: Sequence[dict[str, float]], best: bool) -> tuple[float, float]:
    """Before the training and after it; equal where there is no validation."""
    seen = [look["ndcg@10"] for look in looks if "ndcg@10" in look]
    if len(seen) < 2:
        return math.nan, math.nan
    return seen[0], max(seen[1:]) if best else seen[-1]
