"""Which numbers are log-probabilities."""

import math

import pytest

from distill.llm.protocol import Score
from distill.llm.score_checks import check_score, find_logprob_fault, is_logprob


@pytest.mark.parametrize("value", [0, -0.0, -3, -745.5, -1e300, 1e-4])
def test_numbers_up_to_zero_are_log_probabilities(value):
    assert is_logprob(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "NaN"),
        (0.5, "positive"),
        (math.inf, "positive"),
        (-math.inf, "minus infinity"),
        (None, "missing"),
        ("-1.5", "no number"),
        (True, "no number"),
        ([], "no number"),
    ],
)
def test_scores_of_another_kind_are_a_fault_that_is_named(value, said):
    assert not is_logprob(value)
    assert find_logprob_fault([-1.0, value, -2.0]) == f"a log-probability is {said}"


def test_score_of_what_is_no_log_probability_has_a_fault_and_no_numbers():
    assert check_score(Score(-3.0, 2, (-1.0,))) == Score(-3.0, 2, (-1.0,))
    spoiled = check_score(Score(-3.0, 2, (-1.0, math.nan)))
    assert spoiled.fault
    assert all(map(math.isnan, (spoiled.logprob, *spoiled.endings)))


def test_endings_that_are_only_compared_need_no_score_of_the_continuation():
    assert check_score(Score(math.nan, 0, (-1.0, -2.0))).fault is None
    assert check_score(Score(math.nan, 0)).fault
