"""Rank correlation and average precision of weighted items, against scipy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.evaluate.statistics.rank_metrics import (
    compute_unweighted,
    make_average_precision,
    make_spearman,
)

stats = pytest.importorskip("scipy.stats")
metrics = pytest.importorskip("sklearn.metrics")

ITEMS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=2, max_size=12)
"""Few values, hence many ties."""


@given(ITEMS, st.data())
def test_weight_is_as_many_copies_of_an_item(items, data):
    gold, predicted = np.array(items, float).T
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(items), max_size=len(items)))
    copies = np.repeat(np.arange(len(items)), times)
    if len({*gold[copies]}) < 2 or len({*predicted[copies]}) < 2:
        return
    (found,) = make_spearman(gold, predicted)(np.array(times, float)[:, None])
    assert found == pytest.approx(stats.spearmanr(gold[copies], predicted[copies])[0])
    right = (gold > 1).astype(float)
    if right[copies].any():
        (found,) = make_average_precision(right, predicted)(np.array(times, float)[:, None])
        precision = metrics.average_precision_score(right[copies], predicted[copies])
        assert found == pytest.approx(precision)


def test_rank_metrics_of_many_weightings_are_each_by_themselves():
    rng = np.random.default_rng(0)
    gold, predicted, weights = rng.random(30), rng.random(30), rng.integers(0, 3, (30, 7)) * 1.0
    for statistic, of in ((make_spearman, gold), (make_average_precision, gold.round())):
        alone = [statistic(of, predicted)(column[:, None])[0] for column in weights.T]
        assert statistic(of, predicted)(weights) == pytest.approx(alone)


def test_rank_metrics_without_a_value_count_as_0():
    assert compute_unweighted(make_spearman, np.array([1.0, 2.0]), np.array([3.0, 3.0])) == 0
    assert compute_unweighted(make_average_precision, np.zeros(2), np.array([1.0, 2.0])) == 0
