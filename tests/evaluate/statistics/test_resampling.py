"""Draws of scores that are no mean over items, against loops that do as the words say."""

import numpy as np
import pytest

from distill.evaluate.statistics import resampling
from distill.evaluate.statistics.rank_metrics import (
    compute_unweighted,
    make_average_precision,
    make_spearman,
)
from distill.evaluate.statistics.resampling import (
    resample_items,
    resample_pairs,
    resample_t_distribution,
)
from distill.evaluate.verdict import judge_difference

stats = pytest.importorskip("scipy.stats")

KINDS = pytest.mark.parametrize("statistic", [make_spearman, make_average_precision])


def pairs(seed, count=60, gap=0.5):
    """Gold values, and two predictions of them, the second with more noise."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 2, count).astype(float)
    return gold, gold + rng.normal(0, 1, count), gold + rng.normal(0, 1 + gap, count)


@KINDS
def test_bootstrap_draws_pairs_anew(statistic):
    gold, ours, theirs = pairs(0)
    found = resample_pairs(statistic, gold, ours, theirs, np.random.default_rng(1))
    assert found.observed == compute_unweighted(statistic, gold, ours) - compute_unweighted(
        statistic, gold, theirs
    )
    rng, loops = np.random.default_rng(2), []
    for _ in range(1500):
        some = rng.integers(0, len(gold), len(gold))
        values = [compute_unweighted(statistic, gold[some], of[some]) for of in (ours, theirs)]
        loops.append(values[0] - values[1])
    assert found.bootstrap.shape == (resampling.WEIGHTED_RESAMPLES,)
    assert found.bootstrap.mean() == pytest.approx(np.mean(loops), abs=0.01)
    assert found.bootstrap.std() == pytest.approx(np.std(loops), rel=0.1)


@KINDS
def test_bootstrap_of_few_pairs_is_stretched_by_a_t_quantile(statistic):
    gold, ours, theirs = pairs(4, count=12)
    found = resample_pairs(statistic, gold, ours, theirs, np.random.default_rng(1))
    rng, loops = np.random.default_rng(2), []
    for _ in range(3000):
        some = rng.integers(0, 12, 12)
        values = [compute_unweighted(statistic, gold[some], of[some]) for of in (ours, theirs)]
        loops.append(values[0] - values[1])
    stretched = np.sqrt(12 / 11) * stats.t.ppf(0.975, 11) / stats.norm.ppf(0.975)
    assert found.bootstrap.std() / np.std(loops) == pytest.approx(stretched, rel=0.06)


@KINDS
def test_permutation_swaps_the_ranks_of_a_pair(statistic):
    gold, ours, theirs = pairs(0)
    found = resample_pairs(statistic, gold, ours, theirs, np.random.default_rng(1))
    ours, theirs = stats.rankdata(ours), stats.rankdata(theirs)
    rng, loops = np.random.default_rng(2), []
    for _ in range(1500):
        swap = rng.random(len(gold)) < 0.5
        one, other = np.where(swap, theirs, ours), np.where(swap, ours, theirs)
        loops.append(
            compute_unweighted(statistic, gold, one) - compute_unweighted(statistic, gold, other)
        )
    assert found.permuted.shape == (resampling.WEIGHTED_RESAMPLES,)
    assert found.permuted.mean() == pytest.approx(0, abs=0.01)
    assert found.permuted.std() == pytest.approx(np.std(loops), rel=0.1)


@KINDS
def test_scale_of_a_models_cosines_is_no_difference(statistic):
    gold, ours, theirs = pairs(3)
    plainly = resample_pairs(statistic, gold, ours, theirs, np.random.default_rng(1))
    squeezed = resample_pairs(statistic, gold, 0.9 + 0.01 * ours, theirs, np.random.default_rng(1))
    for one, other in zip(plainly, squeezed, strict=True):
        assert one == pytest.approx(other)


@KINDS
def test_models_that_are_alike_differ_by_chance_alone(statistic):
    ps = []
    for seed in range(25):
        found = resample_pairs(statistic, *pairs(seed, gap=0), np.random.default_rng(seed))
        ps.append(np.mean(np.abs(found.permuted) >= abs(found.observed)))
    assert sum(p <= 0.05 for p in ps) <= 4
    assert np.mean(ps) == pytest.approx(0.5, abs=0.2)


def test_samples_of_one_set_are_draws_already():
    differences = np.random.default_rng(0).normal(0.03, 0.01, 10)
    found = resample_t_distribution(differences, np.random.default_rng(1))
    half = stats.t.ppf(0.975, 9) * differences.std(ddof=1)
    low, high = np.percentile(found.bootstrap, [2.5, 97.5])
    assert (low, high) == pytest.approx(
        (differences.mean() - half, differences.mean() + half), abs=2e-3
    )
    p = np.mean(np.abs(found.permuted) >= found.observed)
    expected = 2 * stats.t.sf(differences.mean() / differences.std(ddof=1), 9)
    assert p == pytest.approx(expected, abs=0.01)


def test_interval_of_few_items_holds_the_truth_nearly_as_often_as_it_says():
    rng = np.random.default_rng(3)

    def sample(size):
        """Most queries are ties; of the rest one model wins more."""
        kind = rng.random(size)
        wins, losses = rng.beta(1, 2, size), -rng.beta(1, 3, size)
        return np.where(kind < 0.6, 0.0, np.where(kind < 0.85, wins, losses))

    truth, rounds = sample(1_000_000).mean(), 300
    held, held_by_percentiles = 0, 0
    for _ in range(rounds):
        values = sample(20)
        low, high = np.percentile(resample_items(values, rng).bootstrap, [2.5, 97.5])
        held += low <= truth <= high
        compute_unweighted = rng.choice(values, (1000, 20)).mean(axis=1)
        low, high = np.percentile(compute_unweighted, [2.5, 97.5])
        held_by_percentiles += low <= truth <= high
    assert held / rounds > 0.89
    assert held - held_by_percentiles > 0.01 * rounds


@pytest.mark.parametrize(
    ("value", "count"), [(0.0, 2), (0.0, 10), (0.1, 2), (-0.13, 3), (1.0, 3), (0.2, 5), (0.0, 49)]
)
def test_few_items_that_are_all_alike_do_not_settle_what_others_are(value, count):
    """No spread was seen, which says that a share of 1 - 0.05 ** (1 / n) of other items at most is
    unlike these. The interval was of no width, and two queries were "level", or "better"."""
    found = resample_items(np.full(count, value), np.random.default_rng(0))
    low, high = np.percentile(found.bootstrap, [2.5, 97.5])
    share = 1 - 0.05 ** (1 / count)
    assert low == pytest.approx(value - share * (value + 1), abs=1e-3)
    assert high == pytest.approx(value + share * (1 - value), abs=1e-3)
    kind = judge_difference(
        {"difference": value, "low": low, "high": high, "items": count}, margin=0.01
    )["kind"]
    assert kind == "unclear"


def test_interval_of_items_that_are_all_alike_holds_the_truth():
    """One query in twelve is lost: of ten, none is in four of ten samples."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        lost = -(rng.random(10) < 1 / 12).astype(float)
        low, high = np.percentile(resample_items(lost, rng).bootstrap, [2.5, 97.5])
        held += low <= -1 / 12 <= high
    assert held >= 190


def test_six_items_that_are_all_better_are_better():
    """By swaps that has a chance of 1 in 32: the interval leaves 0 out, as p does."""
    low, high = np.percentile(
        resample_items(np.full(6, 0.1), np.random.default_rng(0)).bootstrap, [2.5, 97.5]
    )
    assert (low, high) == pytest.approx((0.1, 0.1))
