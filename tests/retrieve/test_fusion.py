"""Reciprocal rank fusion, by hand."""

import pytest

from distill.retrieve.fusion import fuse_reciprocal_ranks


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
