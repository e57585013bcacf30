"""Ranks and their fusion."""

import pytest

from distill.relabel.fuse import fuse


def candidates(ranks):
    return [
        {"query_id": "q", "passage_id": f"p{i}", "rank": rank, "similarity": 1.0 - i / 10}
        for i, rank in enumerate(ranks)
    ]


def scores(ranker, values):
    return {ranker: {("q", f"p{i}"): value for i, value in enumerate(values)}}


def test_reciprocal_ranks_without_constant_as_in_gecko():
    rows = fuse(
        candidates([1, 2, 3]),
        scores("ql", [-9.0, -3.0, -5.0]) | scores("rc", [0.1, 0.3, -0.2]),
        ["ql", "rc"],
        rrf_k=0,
    )
    assert [row["ql_rank"] for row in rows] == [3, 1, 2]
    assert [row["rc_rank"] for row in rows] == [2, 1, 3]
    assert [row["rrf"] for row in rows] == pytest.approx([1 / 3 + 1 / 2, 2.0, 1 / 2 + 1 / 3])


def test_the_constant_and_the_retriever_as_a_ranker():
    rows = fuse(candidates([1, 2]), scores("ql", [-2.0, -1.0]), ["ql", "retriever"], rrf_k=60)
    assert [row["rrf"] for row in rows] == pytest.approx([1 / 62 + 1 / 61] * 2)
    assert rows[0]["rc"] is None
    assert rows[0]["rc_rank"] is None


def test_a_missed_seed_ranks_behind_what_was_retrieved():
    rows = fuse(candidates([1, 2, None]), {}, ["retriever"], rrf_k=0)
    assert [row["retriever_rank"] for row in rows] == [1, 2, 3]


def test_equal_scores_rank_in_the_retrievers_order():
    rows = fuse(candidates([2, 1, 3]), scores("ql", [-1.0, -1.0, -1.0]), ["ql"], rrf_k=0)
    assert [row["ql_rank"] for row in rows] == [2, 1, 3]
