"""The interval of a single score."""

from distill.evaluate.score import TaskScore
from distill.evaluate.statistics.score_interval import estimate_score_interval


def make_score(values: list[float]) -> TaskScore:
    by_item = {f"test/default/q{i}": value for i, value in enumerate(values)}
    return TaskScore("mine", "Retrieval", "ndcg_at_10", sum(values) / len(values), by_item)


def test_it_holds_the_score():
    low, high = estimate_score_interval(make_score([0.2, 0.9, 0.4, 0.7, 0.5, 0.1] * 5))
    assert 0 < low < 0.4667 < high < 1


def test_of_few_items_it_is_widened_and_yet_no_score_is_above_1_or_below_0():
    assert estimate_score_interval(make_score([1.0] * 18 + [0.0, 0.4]))[1] == 1
    assert estimate_score_interval(make_score([0.0] * 18 + [1.0, 0.6]))[0] == 0


def test_of_one_item_there_is_none():
    assert estimate_score_interval(make_score([0.5])) is None
