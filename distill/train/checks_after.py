"""Checks after training: whether the loss fell."""

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from scipy.stats import ttest_ind_from_stats

_MIN_LINES = 50
"""With fewer lines of the curve the noise of the loss decides."""
_WARN_P = 0.01
"""p-value below which a rise is warned of."""
_REFUSE_P = 1e-4
"""p-value below which a rise is refused."""


class TrainingCheck(NamedTuple):
    """A fault of a finished training, and whether it is refused or only warned of."""

    what: str
    refuse: bool


def check_loss_curve(
    curve: Sequence[dict[str, float]], validations: Sequence[dict[str, float]], best: bool
) -> TrainingCheck | None:
    """Test whether the loss rose: its last tenth against its first, by Welch's t-test (1947), which
    accounts for the number of lines. A rise is refused where its p-value is tiny or the
    validation's nDCG fell as well; otherwise it is warned of. None: no significant rise.

    Args:
        validations: diagnostics of the student, from before the first step on.
        best: whether the weights are those of the best validation, not of the last.
    """
    if len(curve) < _MIN_LINES:
        return None
    losses = [line["loss"] for line in curve]
    tenth = len(losses) // 10
    first, last = losses[:tenth], losses[-tenth:]
    p_value = _compute_rise_p_value(first, last)
    if p_value >= _WARN_P:
        return None
    what = (
        f"the loss rose from {mean(first):.4g} in the first tenth to {mean(last):.4g} in the last"
    )
    what += f" (p = {p_value:.1g})"
    before, after = _find_ndcg_before_and_after(validations, best)
    if after < before:
        return TrainingCheck(f"{what}, and nDCG@10 fell from {before:.4f} to {after:.4f}", True)
    return TrainingCheck(what, p_value < _REFUSE_P)


def _compute_rise_p_value(first: Sequence[float], last: Sequence[float]) -> float:
    """Compute the one-sided p-value of a higher mean in `last`."""
    if stdev(first) == stdev(last) == 0:
        return 0.0 if last[0] > first[0] else 1.0
    later, earlier = ((mean(part), stdev(part), len(part)) for part in (last, first))
    test = ttest_ind_from_stats(*later, *earlier, equal_var=False, alternative="greater")
    return float(test.pvalue)


def _find_ndcg_before_and_after(
    validations: Sequence[dict[str, float]], best: bool
) -> tuple[float, float]:
    """Return nDCG@10 before the training and after it; NaN where no query is held out."""
    scores = [figures["ndcg@10"] for figures in validations if "ndcg@10" in figures]
    if len(scores) < 2:
        return math.nan, math.nan
    return scores[0], max(scores[1:]) if best else scores[-1]
