"""What a curve must do for the training to have been one."""

import math
from collections.abc import Sequence
from statistics import mean, variance

from distill.errors import UserError

Curve = list[dict[str, float]]
_LEAST = 50
"""With fewer lines the loss' noise decides."""


def loss_must_fall(curve: Sequence[dict[str, float]], stage: str) -> None:
    """Refuse a training whose last tenth has a higher mean loss than its first, by more than twice
    the standard error of the difference.

    Raises:
        UserError: if it has.
    """
    if len(curve) < _LEAST:
        return
    losses = [line["loss"] for line in curve]
    tenth = len(losses) // 10
    first, last = losses[:tenth], losses[-tenth:]
    rise = mean(last) - mean(first)
    if rise > 2 * math.sqrt((variance(first) + variance(last)) / tenth):
        raise UserError(
            f"training, stage {stage}",
            f"the loss rose from {mean(first):.4g} in the first tenth to {mean(last):.4g} in the "
            "last",
            "lower train.learning_rate, or raise train.warmup",
        )
