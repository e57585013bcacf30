"""Every index gives the same rows in the same order, ties included."""

import numpy as np
import pytest

from distill.retrieve import search
from distill.retrieve.search import ExactIndex, FaissFlatIndex

faiss = pytest.importorskip("faiss")


def unit(rows: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(queries: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    scores = (queries.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    return np.stack([np.lexsort((np.arange(len(vectors)), -row))[:k] for row in scores])


def with_ties(rows: int) -> np.ndarray:
    """Each vector stands there up to forty times, far apart: more ties than any margin."""
    distinct = unit(rows // 40, 24, seed=1)
    return distinct[np.random.default_rng(2).integers(len(distinct), size=rows)]


@pytest.mark.parametrize("vectors", [unit(500, 24, 3), with_ties(400), unit(7, 24, 4)])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_faiss_flat_equals_exact_search_ties_included(vectors, k):
    queries = np.concatenate([unit(30, 24, 5), vectors[:10]])
    exact_scores, exact_rows = ExactIndex(vectors).search(queries, k)
    faiss_scores, faiss_rows = FaissFlatIndex(vectors).search(queries, k)
    assert np.array_equal(exact_rows, brute_force(queries, vectors, k))
    assert np.array_equal(faiss_rows, exact_rows)
    assert np.array_equal(faiss_scores, exact_scores)


def test_block_sizes_do_not_change_the_result(monkeypatch):
    vectors, queries = with_ties(300), unit(25, 24, 6)
    whole = ExactIndex(vectors).search(queries, 10)
    monkeypatch.setattr(search, "_PASSAGES_AT_ONCE", 7)
    monkeypatch.setattr(search, "_QUERIES_AT_ONCE", 4)
    blocks = ExactIndex(vectors).search(queries, 10)
    assert np.array_equal(whole[0], blocks[0])
    assert np.array_equal(whole[1], blocks[1])


def test_more_asked_than_there_are():
    vectors = unit(3, 8, 1)
    scores, rows = ExactIndex(vectors).search(vectors, 20)
    assert rows.shape == scores.shape == (3, 3)
