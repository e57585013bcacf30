"""The interval and the p-value of a mean difference over a few seeds of training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distill.errors import need
from distill.evaluate.statistics.rank_metrics import Values

_ROUNDING = 1e-12
"""A smaller difference is no difference: its last digits are of the order of a sum."""


class SeedInterval(NamedTuple):
    """A 95 % interval, in units of the score, and a two-sided p-value."""

    low: float
    high: float
    p: float


def compute_seed_interval(by_seed: Sequence[float], bootstrap: Values) -> SeedInterval:
    """Compute the uncertainty of a mean over seeds that items and seeds bring about.

    The two parts of the variance are added: that of the bootstrap, and that between seeds divided
    by their number. Three seeds tell their own spread badly, so the interval is of a t
    distribution, whose degrees of freedom are Satterthwaite's (1946): those of the seeds alone
    where seeds decide, many where items do.

    Args:
        by_seed: the difference of each seed, two at least.
        bootstrap: (draws,) of the mean difference over the seeds, with items drawn again.
    """
    distribution = need("scipy.stats", "eval").t
    difference = float(np.mean(by_seed))
    of_seeds = float(np.var(by_seed, ddof=1)) / len(by_seed)
    variance = of_seeds + float(np.var(bootstrap, ddof=1))
    share = of_seeds / variance if variance else 0.0
    freedom = (len(by_seed) - 1) / share**2 if share else np.inf
    error = np.sqrt(variance)
    half = float(distribution.ppf(0.975, freedom)) * error
    if abs(difference) < _ROUNDING:
        p = 1.0
    else:
        p = 2 * float(distribution.sf(abs(difference) / error, freedom)) if error else 0.0
    return SeedInterval(difference - half, difference + half, p)
