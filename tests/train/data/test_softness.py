"""How soft the learnt distributions are, and a temperature at which something is learnt."""

import math

import pytest
import torch

from distill.train.data.softness import check_softness, measure_softness, propose_temperature


def softmax(scores: torch.Tensor, temperature: float) -> torch.Tensor:
    return (scores / temperature).masked_fill(scores.isnan(), -math.inf).softmax(-1)


def test_softness_of_labels():
    flat = measure_softness([[1.0, 1.0], [2.0, 2.0], [5.0]], softmax, 0.05)
    assert (flat.lists, flat.top_probability, flat.candidates) == (2, 0.5, 2.0)
    assert flat.entropy == pytest.approx(math.log(2), abs=1e-4)
    assert flat.effective_candidates == pytest.approx(2, abs=1e-3)
    hard = measure_softness([[0.0, -9.0, math.nan]], softmax, 0.25)
    assert hard.top_probability > 0.99
    assert hard.entropy < 0.01
    assert measure_softness([[1.0], [math.nan, 1.0]], softmax, 1.0) is None


def test_means_and_medians_are_over_lists_of_any_length():
    uneven = measure_softness([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], softmax, 1.0)
    assert uneven.top_probability == pytest.approx((0.5 + 0.5 + 0.25) / 3, abs=1e-4)
    assert uneven.top_probability_median == 0.5
    assert uneven.effective_candidates == pytest.approx(8 / 3, abs=1e-3)
    assert uneven.effective_candidates_median == pytest.approx(2, abs=1e-3)


LISTS = [[-float(n * k) for n in range(8)] for k in (1, 2, 3)]


@pytest.mark.parametrize(("temperature", "what"), [(0.05, "hard"), (1000.0, "flat")])
def test_temperature_at_which_nothing_is_learnt_is_named_with_a_better_one(temperature, what):
    fault = check_softness(LISTS, softmax, temperature, "train.kl").fault
    assert f"the soft labels are {what}" in fault
    better = float(fault.split("set train.kl.temperature: ")[1].split()[0])
    assert check_softness(LISTS, softmax, better, "train.kl").fault is None
    assert measure_softness(LISTS, softmax, better).entropy == pytest.approx(
        math.log(8) / 2, rel=0.05
    )


def test_scores_that_no_temperature_tells_apart_need_others():
    assert propose_temperature([[1.0, 1.0, 1.0]], softmax) is None
    fault = check_softness([[1.0, 1.0, 1.0]], softmax, 0.05, "train.kl").fault
    assert "name other train.kl.scores" in fault
    assert propose_temperature([], softmax) is None
    assert check_softness([[1.0]], softmax, 0.05, "train.kl") == (None, None)
