"""Reciprocal rank fusion of several sources' lists (Cormack et al. 2009)."""

from collections.abc import Sequence
from typing import TypeVar

DEPTH = 5
"""Each source is asked for so many times what is wanted of all together: with a constant of 60 two
middling ranks outweigh one first, so that those far down a list matter."""


Item = TypeVar("Item", int, str)
"""A row's number, or a document's id."""


HYBRID_CONSTANT = 60
"""Of the fusion of a model with BM25, as Cormack et al. (2009) have it."""
HYBRID_DEPTH = 1000
"""How many of each list a hybrid fuses; mteb asks a search for as many."""


def fuse_reciprocal_ranks(
    lists: Sequence[Sequence[Item]], constant: float, count: int
) -> list[Item]:
    """Rank the `count` best rows by the sum over lists of 1 / (constant + rank), ranks from 1. Ties
    go to the better rank in the earlier list, then to the earlier row."""
    return [row for row, _ in _fuse_ranks(lists, constant)[:count]]


def rank_hybrid(
    dense: Sequence[Item], lexical: Sequence[Item], count: int
) -> list[tuple[Item, float]]:
    """Rank by a model and BM25 together, with the fused scores. Evaluation, search and an exported
    index rank a hybrid so.

    >>> rank_hybrid(["a", "b"], ["b"], 1)[0][0]
    'b'

    Args:
        dense: by the model's similarity, best first, at most `HYBRID_DEPTH`.
        lexical: by BM25, likewise.
    """
    return _fuse_ranks([dense, lexical], HYBRID_CONSTANT)[:count]


def _fuse_ranks(lists: Sequence[Sequence[Item]], constant: float) -> list[tuple[Item, float]]:
    ranks = [{row: rank for rank, row in enumerate(rows, start=1)} for rows in lists]

    def list_ranks(row: Item) -> list[float]:
        return [of_list.get(row, float("inf")) for of_list in ranks]

    def score(row: Item) -> float:
        return sum(1 / (constant + rank) for rank in list_ranks(row))

    def make_key(row: Item) -> tuple[float | Item, ...]:
        return (-score(row), *list_ranks(row), row)

    return [(row, score(row)) for row in sorted(set().union(*ranks), key=make_key)]
