"""How sure the difference of two models is."""

import numpy as np
import pytest

from distill.evaluate.score import TaskScore
from distill.evaluate.statistics.significance import compare_scores, correct_holm

stats = pytest.importorskip("scipy.stats")


def score(task, values, part="test/default"):
    by_item = {f"{part}/q{i}": float(v) for i, v in enumerate(values)}
    return TaskScore(task, "Retrieval", "ndcg_at_10", float(np.mean(values)), by_item)


def bare(task, value):
    """As of a correlation, which has no values of single items."""
    return TaskScore(task, "STS", "cosine_spearman", value, {})


def test_difference_is_that_of_the_means_over_tasks():
    rng = np.random.default_rng(1)
    ours = [score("a", rng.random(30)), score("b", rng.random(50))]
    theirs = [score("a", rng.random(30)), score("b", rng.random(50))]
    found = compare_scores(ours, theirs)
    gap = found["overall"]
    means = [np.mean([s.score for s in scores]) for scores in (ours, theirs)]
    assert gap["difference"] == pytest.approx(means[0] - means[1], abs=1e-6)
    assert gap["low"] < gap["difference"] < gap["high"]
    assert gap["items"] == 80
    assert gap["wins"] is None
    assert [found["tasks"][task]["items"] for task in "ab"] == [30, 50]
    assert found == compare_scores(ours, theirs), "the same seed, the same interval"


def test_task_is_judged_alike_whatever_the_other_tasks_are():
    rng = np.random.default_rng(1)
    ours = [score("a", rng.random(30)), score("b", rng.random(50))]
    theirs = [score("a", rng.random(30)), score("b", rng.random(50))]
    both, alone = compare_scores(ours, theirs), compare_scores(ours[:1], theirs[:1])
    assert both["tasks"]["a"] | {"p_holm": None} == alone["tasks"]["a"] | {"p_holm": None}
    without = ("difference", "low", "high", "p")
    overall = [alone["overall"][key] for key in without]
    assert overall == [alone["tasks"]["a"][key] for key in without]


def test_items_are_paired():
    hard_and_easy = np.linspace(0, 1, 200)
    found = compare_scores([score("a", hard_and_easy + 0.01)], [score("a", hard_and_easy)])
    # Unpaired, the spread over queries would drown a gap of 0.01.
    assert found["overall"]["low"] == pytest.approx(0.01)
    assert found["overall"]["high"] == pytest.approx(0.01)
    assert found["overall"]["p"] == pytest.approx(0.0001)


def test_interval_agrees_with_the_normal_one():
    rng = np.random.default_rng(2)
    values = rng.normal(0.05, 0.2, 400)
    gap = compare_scores([score("a", values)], [score("a", np.zeros(400))])["overall"]
    half = 1.96 * values.std(ddof=1) / 20
    assert gap["low"] == pytest.approx(values.mean() - half, abs=0.003)
    assert gap["high"] == pytest.approx(values.mean() + half, abs=0.003)


@pytest.mark.parametrize("size", [8, 40])
def test_p_value_is_that_of_scipys_permutation_test(size):
    rng = np.random.default_rng(3)
    values = rng.normal(0.1, 0.25, size)
    ours = compare_scores([score("a", values)], [score("a", np.zeros(size))])["overall"]["p"]
    exact = stats.permutation_test((values,), np.mean, permutation_type="samples", rng=0).pvalue
    assert ours == pytest.approx(exact, abs=0.015)


def test_chance_alone_is_called_so():
    rng = np.random.default_rng(4)
    ps = [
        compare_scores([score("a", rng.random(50))], [score("a", rng.random(50))])["overall"]["p"]
        for _ in range(40)
    ]
    assert sum(p <= 0.05 for p in ps) <= 6
    assert np.mean(ps) == pytest.approx(0.5, abs=0.15)


def test_equal_models_are_equal():
    gap = compare_scores([score("a", [0.1, 0.5])], [score("a", [0.1, 0.5])])["tasks"]["a"]
    assert (gap["difference"], gap["p"]) == (0, 1)
    assert (gap["wins"], gap["ties"], gap["losses"]) == (0, 2, 0)


def test_items_won_tied_and_lost_are_counted():
    gap = compare_scores([score("a", [0.2, 0.5, 1, 0])], [score("a", [0.1, 0.5 + 1e-12, 0, 1])])
    of = gap["tasks"]["a"]
    assert (of["wins"], of["ties"], of["losses"]) == (2, 1, 1)


def test_every_language_of_a_task_counts_the_same():
    german = score("a", [0.9, 0.7] * 5, "test/de").by_item
    english = score("a", [0.1, 0.2, 0.3, 0.2] * 5, "test/en").by_item
    ours = TaskScore("a", "Retrieval", "ndcg_at_10", 0.5, german | english)
    theirs = TaskScore("a", "Retrieval", "ndcg_at_10", 0.0, dict.fromkeys(german | english, 0.0))
    gap = compare_scores([ours], [theirs])["overall"]
    assert gap["difference"] == 0.5
    assert (gap["low"] + gap["high"]) / 2 == pytest.approx(0.5, abs=0.02)
    assert gap["low"] > 0.42, "drawn within each language"


def test_holm_is_as_in_the_textbook():
    assert correct_holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert correct_holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert correct_holm({}) == {}


def test_p_value_is_corrected_over_the_tasks_that_have_one():
    rng = np.random.default_rng(5)
    better = [score(task, rng.normal(0.1, 0.2, 30)) for task in "ab"]
    zero = [score(task, np.zeros(30)) for task in "ab"]
    found = compare_scores([*better, bare("c", 0.7)], [*zero, bare("c", 0.5)])
    ps = {task: found["tasks"][task]["p"] for task in "ab"}
    assert {task: found["tasks"][task]["p_holm"] for task in "ab"} == pytest.approx(
        correct_holm(ps)
    )
    assert found["tasks"]["c"]["p_holm"] is None


def test_no_interval_without_values_of_single_items():
    found = compare_scores(
        [bare("a", 0.5), score("b", [1, 0])], [bare("a", 0.3), score("b", [0, 0])]
    )
    assert found["tasks"]["a"]["difference"] == 0.2
    assert {found["tasks"]["a"][key] for key in ("low", "high", "p", "wins", "items")} == {None}
    assert found["overall"]["difference"] == pytest.approx(0.35)
    assert found["overall"]["low"] is None
    single = score("a", [0.5])
    assert compare_scores([single], [single])["overall"]["low"] is None


def test_task_that_the_other_lacks_leaves_no_overall_difference():
    found = compare_scores([score("a", [1, 0]), score("b", [1, 1])], [bare("b", 0.5)])
    assert found["tasks"]["a"]["difference"] is None
    assert found["tasks"]["b"]["difference"] == 0.5
    assert found["overall"]["difference"] is None


def test_difference_over_other_items_is_refused():
    with pytest.raises(ValueError, match="not the same items"):
        compare_scores([score("a", [0.1, 0.2])], [score("a", [0.1, 0.2, 0.3])])
