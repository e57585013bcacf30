"""The interval of a single score."""

import pytest

from distill.evaluate.score import TaskScore


def make_score(values: list[float]) -> TaskScore:
    by_item = {f"test/default/q{i}": value for i, value in enumerate(values)}
    return TaskScore("mine", "Retrieval", "ndcg_at_10", sum(values) / len(values), by_item)


def test_score_interval_holds_the_score():
    low, high = make_score([0.2, 0.9, 0.4, 0.7, 0.5, 0.1] * 5).interval
    assert 0 < low < 0.4667 < high < 1


def test_score_interval_of_few_items_is_widened_within_0_and_1():
    assert make_score([1.0] * 18 + [0.0, 0.4]).interval[1] == 1
    assert make_score([0.0] * 18 + [1.0, 0.6]).interval[0] == 0


def test_score_interval_of_one_item_is_none():
    assert make_score([0.5]).interval is None


def test_score_interval_of_negative_correlations_holds_the_score():
    low, high = make_score([-0.10, -0.12, -0.14] * 4).interval
    assert -0.14 < low < -0.12 < high < -0.10


def test_score_interval_of_correlations_ends_at_minus_1():
    assert make_score([-1.0] * 18 + [0.0, -0.4]).interval[0] == -1


def test_score_interval_of_few_items_that_are_all_alike_has_a_width():
    low, high = make_score([1.0] * 5).interval
    assert (low, high) == (pytest.approx(0.05**0.2, abs=1e-3), 1)
