"""Reciprocal rank fusion and hybrids, by hand."""

import pytest

from distill.retrieve.fusion import HYBRID_SAMPLE, fuse_reciprocal_ranks, rank_hybrid


def test_rrf_adds_up_the_ranks_of_all_lists():
    # 7: 1/1 + 1/3; 5: 1/2; 9: 1/3 + 1/1; 2: 1/2. 7 and 9 tie: 7 is first in the first list.
    assert fuse_reciprocal_ranks([[7, 5, 9], [9, 2, 7]], 0, 9) == [7, 9, 5, 2]


@pytest.mark.parametrize(("constant", "first"), [(0, 1), (60, 3)])
def test_rrf_with_a_large_constant_prefers_rows_of_both_lists(constant, first):
    assert fuse_reciprocal_ranks([[1, 2, 3], [4, 5, 3]], constant, 1) == [first]


def test_rrf_ties_go_to_the_first_list_then_to_the_earlier_row():
    assert fuse_reciprocal_ranks([[8], [3]], 60, 2) == [8, 3]
    assert fuse_reciprocal_ranks([[3], [8]], 60, 2) == [3, 8]
    assert fuse_reciprocal_ranks([[], [8, 3]], 60, 2) == [8, 3]


def test_rrf_of_one_list_is_that_list():
    assert fuse_reciprocal_ranks([[4, 2, 9]], 60, 2) == [4, 2]
    assert fuse_reciprocal_ranks([[4], []], 60, 5) == [4]


def test_hybrid_is_the_weighted_sum_of_standardised_scores():
    # Similarities: mean 0.5, deviation 0.3266. Words: 2, 0 and 0, mean 0.6667, deviation 0.9428.
    ranked = rank_hybrid([("a", 0.9), ("b", 0.5), ("c", 0.1)], [("c", 2.0)], 3)
    assert [row for row, _ in ranked] == ["a", "c", "b"]
    assert [total for _, total in ranked] == pytest.approx([0.4520, -0.1692, -0.2828], abs=1e-4)


def test_hybrid_ranks_by_one_side_where_the_other_finds_nothing_or_tells_nothing_apart():
    assert [row for row, _ in rank_hybrid([("a", 0.9), ("b", 0.5)], [], 2)] == ["a", "b"]
    assert [row for row, _ in rank_hybrid([("a", 0.5), ("b", 0.5)], [("b", 1.0)], 2)] == ["b", "a"]
    assert [row for row, _ in rank_hybrid([("a", 0.5), ("b", 0.5)], [], 2)] == ["a", "b"]
    assert rank_hybrid([], [], 2) == []


def test_hybrid_puts_the_only_row_that_has_a_querys_word_first():
    dense = [(row, 0.9 - row / 1000) for row in range(2 * HYBRID_SAMPLE)]
    assert rank_hybrid(dense, [(150, 5.0)], 1)[0][0] == 150


def test_hybrid_takes_a_row_that_similarity_did_not_list_for_as_near_as_the_last_one():
    dense, words = [("a", 0.9), ("b", 0.2)], [("c", 9.0), ("b", 9.0)]
    by_row = dict(rank_hybrid(dense, words, 3))
    assert by_row["c"] == by_row["b"]
