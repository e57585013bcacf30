"""What the manifest tells of relabelling, against figures computed by hand and by scipy."""

import numpy as np
import pytest
from helpers.label_rows import make_label, make_query, prepare_labels
from scipy.stats import kendalltau

from distill.relabel.statistics import (
    RelabelledQuery,
    RunningStatistics,
    compute_bin_edges,
    compute_kendall_tau,
)
from distill.store.run import Run

RANKERS = ["ql", "retriever"]


def judged(query_id, ql_by_id, positive, seed="seed"):
    """Candidates in the retriever's order; the fusion's is ql's."""
    best = sorted(ql_by_id, key=lambda id_: -ql_by_id[id_])
    rows = [
        make_label(
            id_, 1 / (1 + best.index(id_)), rank, query_id, ql=ql, ql_rank=1 + best.index(id_)
        )
        for rank, (id_, ql) in enumerate(ql_by_id.items(), start=1)
    ]
    example = {
        **make_query(query_id, seed),
        "positive_id": positive,
        "positive": f"text of {positive}",
        "relabelled": positive != seed,
    }
    ordered = sorted(rows, key=lambda row: row["ql_rank"])
    return RelabelledQuery(make_query(query_id, seed), ordered, example if positive else None)


SHARDS = [
    [
        judged("q1", {"a": -3.0, "seed": -1.0, "b": -2.0}, "seed"),
        judged("q2", {"seed": -4.0, "a": -1.0, "b": -2.0, "c": -3.0}, "a"),
    ],
    [judged("q3", {"seed": -2.0, "b": -6.0}, None)],
]
EDGES = {"ql": np.linspace(-6, -1, 11).tolist(), "retriever": np.linspace(0, 1, 11).tolist()}


@pytest.fixture(scope="module")
def figures():
    tally = RunningStatistics(RANKERS, EDGES, changed=1)
    for shard in SHARDS:
        tally.add(shard)
    return tally.summarize()


def test_statistics_shares_and_gaps_are_means_over_the_run(figures):
    assert figures["share_relabelled"] == 0.5
    assert figures["ql_first_minus_last"] == pytest.approx((2 + 3 + 4) / 3, abs=1e-4)
    assert figures["rrf_first_minus_last"] == pytest.approx((2 / 3 + 3 / 4 + 1 / 2) / 3, abs=1e-4)


def test_rank_of_the_seed_is_reported_by_ranker(figures):
    assert figures["seed_rank"]["ql"] == {
        "share_first": pytest.approx(2 / 3, abs=1e-4),
        "share_within_3": pytest.approx(2 / 3, abs=1e-4),
        "mean_reciprocal_rank": pytest.approx((1 + 1 / 4 + 1) / 3, abs=1e-4),
    }
    assert figures["seed_rank"]["fusion"] == figures["seed_rank"]["ql"]
    assert figures["seed_rank"]["retriever"]["share_within_3"] == 1


def test_agreement_is_the_mean_of_each_querys_kendall_tau(figures):
    taus = [
        kendalltau(
            [row["ql_rank"] for row in one.ordered],
            [row["retriever_rank"] for row in one.ordered],
        ).statistic
        for shard in SHARDS
        for one in shard
    ]
    expected = pytest.approx(np.mean(taus), abs=1e-4)
    assert figures["kendall_tau"] == {"ql": {"retriever": expected}, "retriever": {"ql": expected}}


def test_every_score_is_in_its_histogram(figures):
    ql, cosine = figures["scores"]["ql"], figures["scores"]["retriever"]
    assert sum(ql["positive"]) == sum(cosine["positive"]) == 2
    assert sum(ql["others"]) == sum(cosine["others"]) == 7
    assert ql["positive"][-1] == 2
    assert ql["others"][0] == 1
    assert (ql["edges"][0], ql["edges"][-1]) == (-6, -1)


def test_edges_reach_from_the_lowest_to_the_highest_score_of_all_shards(tmp_path):
    rows = [
        make_label("seed", 1.0, 1, ql=-3.5, ql_rank=1),
        make_label("a", 0.5, 2, ql=-9.0, ql_rank=2),
    ]
    more = [make_label("seed", 1.0, 3, "q2", ql=-1.0, ql_rank=1), make_label("b", 0.5, 1, "q2")]
    with Run(tmp_path / "run") as run:
        labels = prepare_labels(run, [make_query("q"), make_query("q2")], [rows, more]).labels
    edges = compute_bin_edges(labels.folder, ["ql", "rc", "retriever"])
    assert list(edges) == ["ql", "retriever"]
    assert (edges["ql"][0], edges["ql"][-1]) == (-9.0, -1.0)
    assert len(edges["ql"]) == 11
    tally = RunningStatistics(["ql"], {"ql": edges["ql"]}, 0)
    tally.add(
        [
            RelabelledQuery(make_query("q"), rows, None),
            RelabelledQuery(make_query("q2"), more, None),
        ]
    )
    assert sum(tally.summarize()["scores"]["ql"]["others"]) == 3


@pytest.mark.parametrize("seed", range(5))
def test_tau_is_scipys_over_the_candidates_that_both_have_ranked(seed):
    draw = np.random.default_rng(seed)
    ranks = np.array([draw.permutation(12) + 1 for _ in range(3)], float)
    ranks[2, draw.permutation(12)[:5]] = np.nan
    tau = compute_kendall_tau(ranks)
    for i in range(3):
        for j in range(3):
            both = ~np.isnan(ranks[i]) & ~np.isnan(ranks[j])
            expected = kendalltau(ranks[i][both], ranks[j][both]).statistic
            assert tau[i, j] == pytest.approx(expected)


def test_rankers_without_two_candidates_in_common_say_nothing():
    tau = compute_kendall_tau(np.array([[1, 2, np.nan], [np.nan, 2, 1]], float))
    assert np.isnan(tau[0, 1])
    assert tau[0, 0] == tau[1, 1] == 1


def test_passages_that_a_cascade_left_unjudged_count_in_no_statistic():
    rows = [make_label("a", 1.0, 1), make_label("seed", 2.0, 2, ql=-1.0, ql_rank=1)]
    tally = RunningStatistics(RANKERS, EDGES, 0)
    tally.add([RelabelledQuery(make_query("q"), rows[::-1], None)])
    figures = tally.summarize()
    assert "ql_first_minus_last" not in figures
    assert figures["kendall_tau"] == {"ql": {}, "retriever": {}}
    assert sum(figures["scores"]["ql"]["others"]) == 1


@pytest.mark.parametrize("changed", [0, 1, 19, 20, 21, 100])
def test_changes_are_drawn_evenly_over_the_run(changed):
    tally = RunningStatistics(RANKERS, EDGES, changed)
    for number in range(changed):
        tally.add([judged(f"s{number}", {"seed": -1.0, "a": -2.0}, "seed")])
        tally.add([judged(f"c{number}", {"seed": -2.0, "a": -1.0}, "a")])
    numbers = [int(change["query_id"][1:]) for change in tally.changes]
    assert len(numbers) == min(changed, 20)
    if changed == 100:
        assert numbers == list(range(0, 100, 5))
    for change in tally.changes:
        assert change["positive"] == "text of a"
        assert change["seed_ranks"] == {"ql": 2, "retriever": 1, "fusion": 2}
        assert change["positive_ranks"] == {"ql": 1, "retriever": 2, "fusion": 1}
