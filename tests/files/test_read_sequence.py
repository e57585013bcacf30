"""Sequences whose items are read on demand read what a list of the same items has."""

from collections.abc import Sequence

import pytest

from distill.files.read_sequence import ReadSequence


class Squares(ReadSequence[int]):
    def __len__(self) -> int:
        return 5

    def read(self, numbers: Sequence[int]) -> list[int]:
        return [number**2 for number in numbers]


SAME = [0, 1, 4, 9, 16]


@pytest.mark.parametrize("number", range(-5, 5))
def test_item_is_found_from_either_end(number):
    assert Squares()[number] == SAME[number]


@pytest.mark.parametrize("part", [slice(1, 3), slice(None, None, -2), slice(-2, 9), slice(3, 1)])
def test_slice_is_a_lists(part):
    assert Squares()[part] == SAME[part]


@pytest.mark.parametrize("number", [-6, 5])
def test_sequence_has_nothing_beyond_its_ends(number):
    with pytest.raises(IndexError):
        Squares()[number]


def test_sequence_iteration_ends_at_the_last():
    assert list(Squares()) == SAME
