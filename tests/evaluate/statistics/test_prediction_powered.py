"""The interval from an LLM's scores and a person's verdicts, and the draw of what a person sees."""

import numpy as np
import pytest

from distill.evaluate.statistics.label_draw import (
    combine_weights,
    compute_draw_keys,
    compute_draw_sizes,
    compute_inclusion,
    draw_uniform,
)
from distill.evaluate.statistics.prediction_powered import (
    PoweredDifference,
    compute_weights,
    estimate_difference,
)

QUERIES, PAIRS = 80, 12


def make_pairs(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of the query, weight and relevance of each pair; the weight says a little of it."""
    rng = np.random.default_rng(seed)
    query = np.repeat(np.arange(QUERIES), PAIRS)
    weights = rng.uniform(-1, 1, len(query))
    return query, weights, (rng.random(len(query)) < 0.3 + 0.1 * weights).astype(float)


def estimate(seed: int, verdicts: int, predicted: np.ndarray | None = None) -> PoweredDifference:
    query, weights, relevant = make_pairs(0)
    sizes = compute_draw_sizes(weights)
    keys = compute_draw_keys(sizes, np.random.default_rng(seed).random(len(sizes)))
    judged = np.argsort(keys)[:verdicts]
    told = np.full(len(weights), np.nan)
    told[judged] = relevant[judged]
    found = estimate_difference(
        QUERIES,
        query,
        weights,
        relevant if predicted is None else predicted,
        told,
        compute_inclusion(sizes, keys, judged.tolist()),
    )
    assert found is not None
    return found


def true_difference() -> float:
    _, weights, relevant = make_pairs(0)
    return float((weights * relevant).sum() / QUERIES)


def test_weights_are_what_a_relevant_passage_adds_to_the_difference() -> None:
    weights = compute_weights(["a", "b", "c"], ["b", "a", "d"])
    assert weights["a"] == -weights["b"] == pytest.approx(1 - 1 / np.log2(3))
    assert weights["c"] == -weights["d"] == pytest.approx(1 / 2)


def test_estimate_with_every_pair_judged_is_the_true_difference() -> None:
    found = estimate(1, QUERIES * PAIRS, np.zeros(QUERIES * PAIRS))
    assert found.difference == pytest.approx(true_difference())
    assert found.low < found.difference < found.high


@pytest.mark.parametrize("judge", ["right", "inverted", "same for all"])
def test_mean_estimate_is_the_true_difference_whatever_the_judge(judge: str) -> None:
    relevant = make_pairs(0)[2]
    scores = {"right": relevant, "inverted": 1 - relevant, "same for all": np.full(960, 0.5)}
    found = [estimate(seed, 60, scores[judge]).difference for seed in range(300)]
    spread = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - true_difference()) < 4 * spread + 0.01


def test_right_judge_narrows_the_interval_and_a_wrong_one_hardly_counts() -> None:
    relevant = make_pairs(0)[2]
    right, wrong = estimate(1, 100, relevant), estimate(1, 100, 1 - relevant)
    assert right.tuning > 0.8
    assert wrong.tuning < 0.1
    assert right.high - right.low < 0.8 * (wrong.high - wrong.low)


def test_verdicts_that_are_all_no_still_leave_an_interval() -> None:
    query, weights, _ = make_pairs(0)
    told = np.full(len(weights), np.nan)
    told[:30] = 0
    sizes = compute_draw_sizes(weights)
    inclusion = 30 * sizes / sizes.sum()
    found = estimate_difference(QUERIES, query, weights, np.zeros(len(weights)), told, inclusion)
    assert found is not None
    assert found.low < -0.05 < 0.05 < found.high


def test_too_few_verdicts_give_no_interval() -> None:
    query, weights, relevant = make_pairs(0)
    told = np.full(len(weights), np.nan)
    told[:9] = relevant[:9]
    ones = np.ones(len(weights))
    assert estimate_difference(QUERIES, query, weights, ones, told, ones) is None


def test_beginnings_of_the_order_sum_without_bias() -> None:
    """The number of pairs, estimated from the first few drawn alone."""
    sizes = compute_draw_sizes(make_pairs(0)[1])
    sums = []
    for seed in range(400):
        keys = compute_draw_keys(sizes, np.random.default_rng(seed).random(len(sizes)))
        first = np.argsort(keys)[:20].tolist()
        sums.append(float((1 / compute_inclusion(sizes, keys, first)[first]).sum()))
    assert np.mean(sums) == pytest.approx(len(sizes), rel=0.1)


def test_skipped_pairs_are_taken_to_be_like_the_others() -> None:
    sizes = compute_draw_sizes(make_pairs(0)[1])
    keys = compute_draw_keys(sizes, np.random.default_rng(3).random(len(sizes)))
    order = np.argsort(keys)[:40].tolist()
    half = compute_inclusion(sizes, keys, order[::2], order[1::2])
    assert np.allclose(half, compute_inclusion(sizes, keys, order) / 2)


def test_draw_of_a_pair_depends_on_seed_and_pair_alone() -> None:
    assert draw_uniform(1, "q", "d") == draw_uniform(1, "q", "d") != draw_uniform(2, "q", "d")
    assert 0 < draw_uniform(1, "q", "d") < 1


def test_pairs_without_weight_can_be_drawn_too() -> None:
    assert (compute_draw_sizes(np.array([0.0, 1.0])) > 0).all()
    assert (compute_draw_sizes(np.zeros(3)) == 1).all()


def test_pairs_drawn_for_several_differences_give_each_an_interval_that_holds() -> None:
    """Drawn for the first alone, the interval of the second holds the truth in 179 of 200
    repetitions."""
    rng = np.random.default_rng(5)
    query = np.repeat(np.arange(QUERIES), PAIRS)
    near, far = rng.uniform(-1, 1, len(query)), rng.uniform(-1, 1, len(query))
    near[np.arange(len(query)) % PAIRS > 2] = 0
    far[np.arange(len(query)) % PAIRS < 3] = 0
    relevant = ((rng.random(len(query)) < 0.3) & (far > 0.3) | (near > 0.7)).astype(float)
    sizes = compute_draw_sizes(combine_weights([near, far]))
    held = {"near": 0, "far": 0}
    for _ in range(200):
        keys = compute_draw_keys(sizes, rng.random(len(sizes)))
        judged = np.argsort(keys)[:50]
        told = np.full(len(query), np.nan)
        told[judged] = relevant[judged]
        inclusion = compute_inclusion(sizes, keys, judged.tolist())
        for name, weights in (("near", near), ("far", far)):
            found = estimate_difference(QUERIES, query, weights, 1 - relevant, told, inclusion)
            assert found is not None
            held[name] += found.low <= (weights * relevant).sum() / QUERIES <= found.high
    assert min(held.values()) >= 190


def test_differences_count_the_same_in_a_draw_whatever_their_size() -> None:
    small, large, none = np.array([0.01, 0.0, 0.0]), np.array([0.0, 5.0, 0.0]), np.zeros(3)
    assert combine_weights([small, large, none]).tolist() == [1.5, 1.5, 0.0]
    assert combine_weights([none]).tolist() == [0.0, 0.0, 0.0]
