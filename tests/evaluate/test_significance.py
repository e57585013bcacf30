"""The interval around a difference of two models."""

import numpy as np
import pytest

from distill.evaluate.evaluate import TaskScore
from distill.evaluate.significance import difference

pytest.importorskip("scipy")


def score(task, values):
    by_query = {f"q{i}": float(v) for i, v in enumerate(values)}
    return TaskScore(task, "ndcg_at_10", float(np.mean(values)), by_query)


def test_difference_is_that_of_the_means_over_tasks():
    rng = np.random.default_rng(1)
    ours = [score("a", rng.random(30)), score("b", rng.random(50))]
    theirs = [score("a", rng.random(30)), score("b", rng.random(50))]
    gap = difference(ours, theirs)
    means = [np.mean([s.score for s in scores]) for scores in (ours, theirs)]
    assert gap["difference"] == pytest.approx(means[0] - means[1], abs=1e-6)
    assert gap["low"] < gap["difference"] < gap["high"]
    assert gap["queries"] == 80
    assert gap == difference(ours, theirs), "the same seed, the same interval"


def test_queries_are_paired():
    hard_and_easy = np.linspace(0, 1, 200)
    better = difference([score("a", hard_and_easy + 0.01)], [score("a", hard_and_easy)])
    # Unpaired, the spread over queries would drown a gap of 0.01.
    assert better["low"] == pytest.approx(0.01)
    assert better["high"] == pytest.approx(0.01)


def test_interval_agrees_with_the_normal_one():
    rng = np.random.default_rng(2)
    values = rng.normal(0.05, 0.2, 400)
    gap = difference([score("a", values)], [score("a", np.zeros(400))])
    half = 1.96 * values.std(ddof=1) / 20
    assert gap["low"] == pytest.approx(values.mean() - half, abs=0.003)
    assert gap["high"] == pytest.approx(values.mean() + half, abs=0.003)


def test_no_interval_without_scores_of_single_queries():
    bare = TaskScore("a", "ndcg_at_10", 0.5, {})
    assert difference([bare], [bare]) is None
    single = score("a", [0.5])
    assert difference([single], [single]) is None


def test_other_queries_are_refused():
    with pytest.raises(ValueError, match="not the same queries"):
        difference([score("a", [0.1, 0.2])], [score("a", [0.1, 0.2, 0.3])])
