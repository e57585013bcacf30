"""Every exact index gives the same rows in the same order, ties included, whatever its blocks,
parts and precision."""

import numpy as np
import pytest
import torch
from helpers.vectors import (
    draw_tied_vectors,
    draw_unit_vectors,
    make_vector_store,
    search_by_brute_force,
)

from distill.recipe import Retriever
from distill.retrieve import exact as search
from distill.retrieve import torch_exact
from distill.retrieve.exact import ExactIndex
from distill.retrieve.faiss_index import FaissFlatGpuIndex
from distill.retrieve.index import make_index
from distill.retrieve.torch_exact import TorchExactIndex

pytest.importorskip("faiss")


def found(tmp_path, vectors, queries, k, **settings):
    return make_index(Retriever(**settings), make_vector_store(tmp_path, vectors)).search(
        queries, k
    )


@pytest.mark.parametrize(
    "vectors", [draw_unit_vectors(500, 24, 3), draw_tied_vectors(400), draw_unit_vectors(7, 24, 4)]
)
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("rows", [None, 3, 64])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_exact_indexes_are_equal_ties_included(tmp_path, vectors, k, rows, precision):
    vectors = vectors.astype(precision)
    queries = np.concatenate([draw_unit_vectors(30, 24, 5), vectors[:10].astype(np.float32)])
    scores, exact = found(tmp_path, vectors, queries, k, index_rows=rows)
    faiss_scores, faiss = found(tmp_path, vectors, queries, k, index="faiss-flat", index_rows=rows)
    assert np.array_equal(exact, search_by_brute_force(queries, vectors, k))
    assert np.array_equal(faiss, exact)
    assert np.array_equal(faiss_scores, scores)
    torch_scores, torch_rows = TorchExactIndex(vectors, "cpu", rows).search(queries, k)
    assert np.array_equal(torch_rows, exact)
    assert np.array_equal(torch_scores, scores)


@pytest.mark.parametrize("rows", [None, 37])
def test_exact_search_of_gpus_is_equal(tmp_path, rows):
    """All but the copy onto a GPU, which needs one."""
    vectors, queries = draw_tied_vectors(400), draw_unit_vectors(30, 24, 5)
    index = FaissFlatGpuIndex(vectors, tmp_path, Retriever(index="faiss-flat", index_rows=rows))
    found, exact = index.search(queries, 9), ExactIndex(vectors).search(queries, 9)
    assert np.array_equal(found[1], exact[1])
    assert np.array_equal(found[0], exact[0])


def test_exact_search_does_not_depend_on_block_sizes(monkeypatch):
    vectors, queries = draw_tied_vectors(300), draw_unit_vectors(25, 24, 6)
    whole = ExactIndex(vectors).search(queries, 10)
    monkeypatch.setattr(search, "_PASSAGES_AT_ONCE", 7)
    monkeypatch.setattr(search, "_QUERIES_AT_ONCE", 4)
    blocks = ExactIndex(vectors).search(queries, 10)
    assert np.array_equal(whole[0], blocks[0])
    assert np.array_equal(whole[1], blocks[1])


def test_exact_search_for_more_than_there_are():
    vectors = draw_unit_vectors(3, 8, 1)
    scores, rows = ExactIndex(vectors).search(vectors, 20)
    assert rows.shape == scores.shape == (3, 3)


class CountingVectors(np.ndarray):
    """Counts how many rows are read in blocks."""

    read = 0

    def __getitem__(self, key):
        if isinstance(key, slice):
            CountingVectors.read += len(range(*key.indices(len(self))))
        return super().__getitem__(key)


@pytest.mark.parametrize("settings", [{}, {"index": "faiss-flat"}, {"device": "torch"}])
def test_corpus_is_gone_through_once_for_all_queries(settings, monkeypatch, tmp_path):
    monkeypatch.setattr(search, "_QUERIES_AT_ONCE", 4)
    vectors, queries = draw_unit_vectors(500, 24, 3), draw_unit_vectors(30, 24, 5)
    counting = vectors.view(CountingVectors)
    if settings.get("device") == "torch":
        index = TorchExactIndex(counting, "cpu", 64)
    else:
        index = make_index(
            Retriever(index_rows=64, **settings), make_vector_store(tmp_path, vectors)
        )
        index.vectors = counting
    CountingVectors.read = 0
    _, rows = index.search(queries, 9)
    assert CountingVectors.read == len(vectors)
    assert np.array_equal(rows, search_by_brute_force(queries, vectors, 9))


def test_search_on_a_gpu_computes_in_float32_where_tf32_is_switched_on(monkeypatch):
    """As NVIDIA's containers have it: rounded to 10 bits, near rows would change their places."""
    precisions = []
    select = torch_exact._select_top

    def watch(scores, count):
        precisions.append(torch.backends.cuda.matmul.fp32_precision)
        return select(scores, count)

    monkeypatch.setattr(torch_exact, "_select_top", watch)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        TorchExactIndex(draw_unit_vectors(50, 8, 1), "cpu").search(draw_unit_vectors(3, 8, 2), 5)
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(precisions) == {"ieee"}
