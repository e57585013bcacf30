"""Reciprocal rank fusion of several sources' lists (Cormack et al. 2009)."""

from collections.abc import Sequence
from typing import TypeVar

DEPTH = 5
"""Each source is asked for so many times what is wanted of all together: with a constant of 60 two
middling ranks outweigh one first, so that those far down a list matter."""


Item = TypeVar("Item", int, str)
"""A row's number, or a document's id."""


def reciprocal_rank_fusion(
    lists: Sequence[Sequence[Item]], constant: float, count: int
) -> list[Item]:
    """Rank the `count` best rows by the sum over lists of 1 / (constant + rank), ranks from 1. Ties
    go to the better rank in the earlier list, then to the earlier row."""
    ranks = [{row: rank for rank, row in enumerate(rows, start=1)} for rows in lists]

    def key(row: Item) -> tuple[float | Item, ...]:
        own: list[float] = [of_list.get(row, float("inf")) for of_list in ranks]
        return (-sum(1 / (constant + rank) for rank in own), *own, row)

    return sorted(set().union(*ranks), key=key)[:count]
