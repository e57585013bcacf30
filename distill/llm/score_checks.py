"""Checks of log-probabilities, which every engine applies to its scores before it returns them.

A log-probability is a number, and not above 0. A model that overflows in float16 gives NaN, and a
server may give anything; one such text must neither rank first nor end a job of a million texts.
"""

import math
from collections.abc import Iterable
from typing import Any

from distill.llm.protocol import Score

_TOLERANCE = 1e-3
"""Rounding may put the log-probability of a certain token this far above 0."""


def is_logprob(value: Any) -> bool:
    """Return whether this is one token's log-probability, as JSON or a tensor gives it; None is not
    one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -math.inf < value <= _TOLERANCE


def find_logprob_fault(logprobs: Iterable[Any]) -> str | None:
    """Find what is wrong with tokens' log-probabilities, in words; None where nothing is."""
    for value in logprobs:
        if not is_logprob(value):
            return f"a log-probability is {_describe(value)}"
    return None


def check_score(score: Score) -> Score:
    """Return the score, or one with a `fault` if its sums are not valid log-probabilities. A score
    that has endings alone (see `Score`) may have NaN for its continuation."""
    compared = score.tokens == 0 and math.isnan(score.logprob) and bool(score.endings)
    sums = score.endings if compared else (score.logprob, *score.endings)
    fault = score.fault or find_logprob_fault(sums)
    return make_unusable_score(fault, len(score.endings)) if fault else score


def make_unusable_score(fault: str, endings: int = 0) -> Score:
    """Make the score of a text that has no valid one."""
    return Score(math.nan, 0, (math.nan,) * endings, fault)


def _describe(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "positive" if value > 0 else "minus infinity"
    return "no number"
