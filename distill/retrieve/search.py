"""Exact nearest neighbours by inner product, the same rows in the same order from every index.

A matrix product's last digits depend on the shape of its blocks, so two indexes, or two block
sizes, would break near-ties differently. Here an index only proposes: it fetches a few more than
asked, the proposals are scored again one by one in float64, and where the proposals might have
cut through a tie, more are fetched. Ties go to the earlier row.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distill.errors import need
from distill.retrieve.encoder import Vectors

Rows = NDArray[np.int64]
_EPSILON = 1e-4
"""Far above the error of a float32 inner product of unit vectors, far below what matters."""
_MARGIN = 16
_QUERIES_AT_ONCE = 256
_PASSAGES_AT_ONCE = 16_384


class Index(Protocol):
    """`search` gives float32 scores and row numbers, both (queries, k), best first."""

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]: ...


class ExactIndex:
    """Blocks of queries against blocks of passages with a running top-k: never the whole matrix,
    and never more of a memory-mapped corpus than one block."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        return _certain_top_k(self._propose, self.vectors, queries, k)

    def _propose(self, queries: Vectors, count: int) -> tuple[Vectors, Rows]:
        scores = np.full((len(queries), 0), -np.inf, np.float32)
        rows = np.zeros((len(queries), 0), np.int64)
        for start in range(0, len(self.vectors), _PASSAGES_AT_ONCE):
            block = np.asarray(self.vectors[start : start + _PASSAGES_AT_ONCE])
            numbers = np.arange(start, start + len(block))
            scores = np.concatenate([scores, queries @ block.T], axis=1)
            rows = np.concatenate([rows, np.tile(numbers, (len(queries), 1))], axis=1)
            if scores.shape[1] > count:
                best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
                scores = np.take_along_axis(scores, best, axis=1)
                rows = np.take_along_axis(rows, best, axis=1)
        return scores, rows


class FaissFlatIndex:
    """FAISS' flat inner-product index (the extras `cpu` or `gpu`)."""

    def __init__(self, vectors: Vectors) -> None:
        faiss = need("faiss", "cpu")
        self.vectors = vectors
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        for start in range(0, len(vectors), _PASSAGES_AT_ONCE):
            self._index.add(np.ascontiguousarray(vectors[start : start + _PASSAGES_AT_ONCE]))

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        return _certain_top_k(self._propose, self.vectors, queries, k)

    def _propose(self, queries: Vectors, count: int) -> tuple[Vectors, Rows]:
        scores, rows = self._index.search(np.ascontiguousarray(queries), count)
        return scores, rows


def similarity(query: Vectors, passages: Vectors) -> Vectors:
    """Inner products of one query (dimensions,) with passages (n, dimensions), summed in float64
    so that they do not depend on what else is computed beside them."""
    products = passages.astype(np.float64) * query.astype(np.float64)
    result: Vectors = products.sum(axis=1).astype(np.float32)
    return result


def _certain_top_k(
    propose: Callable[[Vectors, int], tuple[Vectors, Rows]],
    vectors: Vectors,
    queries: Vectors,
    k: int,
) -> tuple[Vectors, Rows]:
    k = min(k, len(vectors))
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        pending = np.arange(start, min(start + _QUERIES_AT_ONCE, len(queries)))
        count = min(k + _MARGIN, len(vectors))
        while len(pending):
            proposed, candidates = propose(queries[pending], count)
            unclear = []
            for place, query in enumerate(pending):
                if count < len(vectors) and _cuts_a_tie(proposed[place], k):
                    unclear.append(query)
                    continue
                scores[query], rows[query] = _rescore(queries[query], vectors, candidates[place], k)
            pending = np.array(unclear, dtype=np.int64)
            count = min(2 * count, len(vectors))
    return scores, rows


def _cuts_a_tie(scores: Vectors, k: int) -> bool:
    """Whether something as good as the k-th may lie beyond the last proposal."""
    ordered = np.sort(scores)[::-1]
    return bool(ordered[-1] >= ordered[k - 1] - _EPSILON)


def _rescore(query: Vectors, vectors: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows]:
    exact = similarity(query, vectors[rows])
    order = np.lexsort((rows, -exact))[:k]
    return exact[order], rows[order]


def make_index(kind: str, vectors: Vectors) -> Index:
    """`exact` or `faiss-flat`."""
    return FaissFlatIndex(vectors) if kind == "faiss-flat" else ExactIndex(vectors)
