"""Exact nearest neighbours by inner product, with the same rows in the same order from every index.

A matrix product's last digits depend on the shape of its blocks, so two indexes, or two block
sizes, would break near-ties differently. Here an index only proposes: it fetches a few more than
asked, the proposals are scored again one by one in float64, and where the proposals might have
cut through a tie, more are fetched. Ties go to the earlier row.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distill.embed.encoder import Vectors

RowNumbers = NDArray[np.int64]
CandidateSearch = Callable[[Vectors, int], tuple[Vectors, RowNumbers]]
"""(queries, dimensions) float32 and a count -> scores and rows, (queries, count), in any order."""

NO_RESULT = -1
"""The row number where an index finds fewer than asked; its score is minus infinity."""

CERTAIN_DISTANCE = 1e-4
"""Far above the error of a float32 inner product of unit vectors, far below what matters."""
MARGIN = 16
"""Candidates proposed beyond the number asked for."""
_QUERIES_AT_ONCE = 1024
"""Queries in one product; all of them are multiplied with a block of passages before the next is
read."""
_PASSAGES_AT_ONCE = 8192


class SearchIndex(Protocol):
    """An index over vectors. `search` returns float32 scores and row numbers, both (queries, at
    most k), best first. Where an index finds fewer for one query than for another, the row
    `NO_RESULT` fills the end."""

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowNumbers]:
        """Find the k best rows of each query."""
        ...


class ExactIndex:
    """Exact search in blocks of passages with a running top-k: never the whole matrix of scores,
    and never more of a memory-mapped corpus than one block, which is read once for all queries.

    Args:
        rows: passages in a block at most.
    """

    def __init__(self, vectors: Vectors, rows: int | None = None) -> None:
        self.vectors = vectors
        self._block = min(rows or _PASSAGES_AT_ONCE, _PASSAGES_AT_ONCE)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowNumbers]:
        """Find the k best rows of each query (see `SearchIndex`)."""
        return find_exact_top_k(self._propose, self.vectors, queries, k)

    def _propose(self, queries: Vectors, count: int) -> tuple[Vectors, RowNumbers]:
        scores = np.full((len(queries), count), -np.inf, np.float32)
        rows = np.full((len(queries), count), NO_RESULT, np.int64)
        groups = [*iterate_query_groups(len(queries))]
        products = np.empty((min(len(queries), _QUERIES_AT_ONCE), self._block), np.float32)
        for start in range(0, len(self.vectors), self._block):
            block = np.asarray(self.vectors[start : start + self._block], np.float32)
            for group in groups:
                out = products[: group.stop - group.start, : len(block)]
                block_scores = np.matmul(queries[group], block.T, out=out)
                _merge_block(scores[group], rows[group], block_scores, start)
        return scores, rows


def _merge_block(scores: Vectors, rows: RowNumbers, block_scores: Vectors, start: int) -> None:
    """Put the passages of a block, which begins at the row `start`, among the best so far."""
    count = scores.shape[1]
    # After the first blocks few products beat the worst that is held.
    better = block_scores > scores.min(axis=1, keepdims=True)
    for query in np.flatnonzero(better.any(axis=1)):
        columns = np.flatnonzero(better[query])
        merged = np.concatenate([scores[query], block_scores[query, columns]])
        numbers = np.concatenate([rows[query], columns + start])
        best = np.argpartition(merged, -count)[-count:]
        scores[query], rows[query] = merged[best], numbers[best]


def iterate_query_groups(count: int) -> Iterator[slice]:
    """Iterate over the queries of one product after the other."""
    for start in range(0, count, _QUERIES_AT_ONCE):
        yield slice(start, min(start + _QUERIES_AT_ONCE, count))


def select_best(scores: Vectors, rows: RowNumbers, count: int) -> tuple[Vectors, RowNumbers]:
    """Select the `count` best of each query, in any order."""
    if scores.shape[1] <= count:
        return scores, rows
    best = np.argpartition(scores, -count, axis=1)[:, -count:]
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)


def compute_similarity(query: Vectors, passages: Vectors) -> Vectors:
    """Compute the inner products of one query (dimensions,) with passages (n, dimensions), summed
    in float64 so that they do not depend on the batch."""
    products = passages.astype(np.float64) * query.astype(np.float64)
    result: Vectors = products.sum(axis=1).astype(np.float32)
    return result


def find_exact_top_k(
    propose: CandidateSearch, vectors: Vectors, queries: Vectors, k: int
) -> tuple[Vectors, RowNumbers]:
    """Find the k best by `similarity`, among candidates that `propose` scores in float32. It is
    asked for all queries together, so that it goes through the vectors once, and again for those
    alone whose proposals might have cut through a tie."""
    k = min(k, len(vectors))
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    pending = np.arange(len(queries))
    count = min(k + MARGIN, len(vectors))
    while len(pending):
        proposed, candidates = propose(queries[pending], count)
        unclear = []
        for place, query in enumerate(pending):
            if count < len(vectors) and _is_tie_cut(proposed[place], k):
                unclear.append(query)
                continue
            scores[query], rows[query] = rescore(queries[query], vectors, candidates[place], k)
        pending = np.array(unclear, dtype=np.int64)
        count = min(2 * count, len(vectors))
    return scores, rows


def _is_tie_cut(scores: Vectors, k: int) -> bool:
    """Return whether a row as good as the k-th may lie beyond the last candidate."""
    ordered = np.sort(scores)[::-1]
    return bool(ordered[-1] >= ordered[k - 1] - CERTAIN_DISTANCE)


def rescore(
    query: Vectors, vectors: Vectors, rows: RowNumbers, k: int
) -> tuple[Vectors, RowNumbers]:
    """Rank these rows by `similarity`, and return the k best; fewer if there are fewer."""
    exact = compute_similarity(query, vectors[rows])
    order = np.lexsort((rows, -exact))[:k]
    return exact[order], rows[order]
