"""Several sources' lists as one: reciprocal rank fusion (Cormack et al. 2009) of candidates, and
the weighted sum of scores, by which a model and BM25 are searched together."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

DEPTH = 5
"""Factor by which each source is asked for more than is wanted of all together: with a constant of
60 two middling ranks outweigh one first, so that those far down a list matter."""


Item = TypeVar("Item", int, str)
"""A row's number, or a document's id."""


HYBRID_WEIGHTS = {"dense": 0.6, "bm25": 0.4}
"""Of a model's standardised similarity and of BM25's standardised score in a hybrid."""
HYBRID_DEPTH = 1000
"""How many of each list a hybrid takes; mteb asks a search for as many."""
HYBRID_SAMPLE = 100
"""Of how many first scores of a list a hybrid takes mean and standard deviation."""


def fuse_reciprocal_ranks(
    lists: Sequence[Sequence[Item]], constant: float, count: int
) -> list[Item]:
    """Rank the `count` best rows by the sum over lists of 1 / (constant + rank), ranks from 1. Ties
    go to the better rank in the earlier list, then to the earlier row."""
    ranks = [{row: rank for rank, row in enumerate(rows, start=1)} for rows in lists]

    def make_key(row: Item) -> tuple[float | Item, ...]:
        of_lists: list[float] = [of_list.get(row, float("inf")) for of_list in ranks]
        return (-sum(1 / (constant + rank) for rank in of_lists), *of_lists, row)

    return sorted(set().union(*ranks), key=make_key)[:count]


def rank_hybrid(
    dense: Sequence[tuple[Item, float]], lexical: Sequence[tuple[Item, float]], count: int
) -> list[tuple[Item, float]]:
    """Rank by a model and BM25 together: the weighted sum of standardised scores (a linear
    combination, which Bruch et al., arXiv 2210.11934, find better than reciprocal ranks).
    Evaluation, search and an exported index rank a hybrid so.

    A row that is on one list alone has the last score of the other: of BM25 0, where its list is
    shorter, since such a row shares no word with the query. Ties go to the model's order.

    >>> rank_hybrid([("a", 0.9), ("b", 0.8), ("c", 0.1)], [("b", 3.0)], 1)[0][0]
    'b'

    Args:
        dense: rows with the model's similarity, best first, at most `HYBRID_DEPTH`.
        lexical: those that share a word with the query, with BM25's score, likewise.

    Returns:
        The `count` best rows with their sums, best first.
    """
    similarities: dict[Item, float] = dict(dense)
    words: dict[Item, float] = dict(lexical)
    without_words: list[float] = [0.0] * (len(dense) - len(lexical))
    near = _Standard([*similarities.values()])
    worded = _Standard([*words.values(), *without_words])
    sums: dict[Item, float] = {}
    for row in similarities | words:
        sums[row] = HYBRID_WEIGHTS["dense"] * near.convert(similarities.get(row))
        sums[row] += HYBRID_WEIGHTS["bm25"] * worded.convert(words.get(row))
    # `sums` begins in the model's order, and sorting is stable.
    return sorted(sums.items(), key=lambda item: -item[1])[:count]


class _Standard:
    """Converts scores into standard deviations from the mean of a list's first ones.

    Args:
        scores: the list's, best first.
    """

    def __init__(self, scores: Sequence[float]) -> None:
        sample = np.array(scores[:HYBRID_SAMPLE] or [0.0])
        self._mean, self._deviation = float(sample.mean()), float(sample.std()) or 1.0
        self._last = scores[-1] if scores else 0.0

    def convert(self, score: float | None) -> float:
        """Convert a score; None is that of a row which is not on the list, and counts as the last
        one that is."""
        return ((self._last if score is None else score) - self._mean) / self._deviation
