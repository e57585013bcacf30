"""Approximate indexes find nearly what exact search finds, say so, and are made once."""

import numpy as np
import pytest
from helpers.vectors import draw_easy_vectors, draw_unit_vectors, make_vector_store

from distill.errors import UserError
from distill.recipe import Retriever
from distill.retrieve.exact import NO_RESULT, ExactIndex, compute_similarity
from distill.retrieve.index import (
    check_index,
    choose_queries_at_once,
    compute_parts,
    compute_recall,
    make_index,
)

faiss = pytest.importorskip("faiss")

VECTORS, QUERIES = draw_easy_vectors(3000, 32, 1), draw_easy_vectors(40, 32, 2)
KINDS = {"IVF32,Flat": 8, "IVF16,PQ16x4": 16, "HNSW16": 64, "SQ8": None, "PCA8,IVF16,Flat": 8}
"""With the effort that each takes."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [None, 1000])
def test_index_recall_is_close_to_1_on_easy_data(tmp_path, kind, rows):
    settings = Retriever(index=kind, effort=KINDS[kind], index_rows=rows)
    index = make_index(settings, make_vector_store(tmp_path, VECTORS))
    assert compute_recall(index, VECTORS, QUERIES, 10) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_batches_find_what_each_finds_alone_and_load_each_part_once(tmp_path, kind, monkeypatch):
    store, settings = make_vector_store(tmp_path, VECTORS), Retriever(index=kind, index_rows=1000)
    batches = [QUERIES[:7], QUERIES[7:30], QUERIES[30:]]
    alone = [make_index(settings, store).search(batch, 10) for batch in batches]
    loads, read = [], faiss.read_index
    monkeypatch.setattr(faiss, "read_index", lambda path: loads.append(path) or read(path))
    index = make_index(settings, store)
    together = index.search_batches(batches, 10)
    assert len(loads) == len(set(loads)) == 3
    index.search_batches(batches, 10)  # the part in memory is not loaded again
    assert len(loads) == 3 + 2
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


def test_best_of_all_parts_are_those_of_their_proposals_together(tmp_path):
    """Parts of lists, of which one is probed, propose few rows; merged part by part, nothing is
    lost of them."""
    settings = Retriever(index="IVF32,Flat", effort=1, index_rows=1000)
    index = make_index(settings, make_vector_store(tmp_path, VECTORS))
    scores, rows = index.search(QUERIES, 40)
    parts = [faiss.read_index(str(path)) for path in sorted(tmp_path.glob("index-*/*.faiss"))]
    found = [part.search(QUERIES, 160)[1] for part in parts]  # FAISS probes one list by itself
    for place, query in enumerate(QUERIES):
        own = [of[place][of[place] != NO_RESULT] for of in found]
        proposed = np.concatenate([of + 1000 * number for number, of in enumerate(own)])
        exact = compute_similarity(query, VECTORS[proposed])
        order = np.lexsort((proposed, -exact))[:40]
        assert np.array_equal(rows[place][: len(order)], proposed[order])
        assert np.array_equal(scores[place][: len(order)], exact[order])
        assert (rows[place][len(order) :] == NO_RESULT).all()


def test_pass_through_the_corpus_is_for_more_queries_where_it_takes_longer():
    def choose(passages, **settings):
        vectors = np.broadcast_to(np.float32(0), (passages, 384))
        return choose_queries_at_once(Retriever(**settings), vectors)

    assert choose(10**6) == choose(10**7) == choose(10**6, index="IVF32,Flat") == 2048
    in_parts = [{"index_rows": 10**5}, {"index": "IVF32,Flat", "index_rows": 10**5}]
    assert {choose(10**6, **settings) for settings in in_parts} == {16_384}
    assert choose(10**8) == 16_384  # more than the memory of a machine


def test_parts_of_an_exact_search_fit_into_memory_and_those_of_another_index_are_the_recipes():
    vectors = np.broadcast_to(np.float32(0), (10**8, 384))
    parts = compute_parts(Retriever(), vectors)
    assert len(parts) == 9
    assert (parts[0][0], parts[-1][1]) == (0, 10**8)
    assert max(end - start for start, end in parts) * 384 * 4 <= 16 << 30
    assert len(compute_parts(Retriever(index="IVF32,Flat"), vectors)) == 1
    assert len(compute_parts(Retriever(index_rows=10**7), vectors)) == 10


@pytest.mark.parametrize("kind", KINDS)
def test_index_scores_are_exact_and_in_order(tmp_path, kind):
    index = make_index(Retriever(index=kind), make_vector_store(tmp_path, VECTORS))
    scores, rows = index.search(QUERIES, 10)
    for query, own, numbers in zip(QUERIES, scores, rows, strict=True):
        assert np.array_equal(own, compute_similarity(query, VECTORS[numbers]))
        assert np.array_equal(own, np.sort(own)[::-1])
        assert len(set(numbers)) == 10


def test_ivf_index_finds_more_with_more_effort_and_everything_with_all_lists(tmp_path):
    store, vectors = (
        make_vector_store(tmp_path, draw_unit_vectors(2000, 16, 3)),
        draw_unit_vectors(2000, 16, 3),
    )
    queries = draw_unit_vectors(30, 16, 4)
    found = [
        compute_recall(
            make_index(Retriever(index="IVF32,Flat", effort=n), store), vectors, queries, 10
        )
        for n in (1, 4, 32)
    ]
    assert found[0] < found[1] < found[2] == 1.0


def test_index_fills_lists_that_are_too_short(tmp_path):
    # Of 64 lists one is probed, which holds a few vectors.
    index = make_index(
        Retriever(index="IVF64,Flat", effort=1), make_vector_store(tmp_path, VECTORS[:200])
    )
    scores, rows = index.search(QUERIES, 20)
    missing = rows == NO_RESULT
    assert missing.any()
    assert np.isneginf(scores[missing]).all()
    assert np.isfinite(scores[~missing]).all()
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()  # at the end alone


def test_index_search_for_more_than_there_are(tmp_path):
    scores, rows = make_index(
        Retriever(index="HNSW8"), make_vector_store(tmp_path, VECTORS[:5])
    ).search(QUERIES, 20)
    exact_scores, exact = ExactIndex(VECTORS[:5]).search(QUERIES, 20)
    assert np.array_equal(rows, exact)
    assert np.array_equal(scores, exact_scores)


def test_faiss_index_is_made_once_and_read_again(tmp_path, monkeypatch):
    store = make_vector_store(tmp_path, VECTORS.astype(np.float16))
    settings = Retriever(index="HNSW16", index_rows=1500)
    first = make_index(settings, store).search(QUERIES, 10)
    assert len(list(tmp_path.glob("index-*/part-*.faiss"))) == 2
    monkeypatch.setattr(faiss, "write_index", None)
    again = make_index(settings, store).search(QUERIES, 10)
    assert np.array_equal(first[1], again[1])


@pytest.mark.bad_input(
    "shape of a recipe", "an index that cannot be made", "refused before anything is embedded"
)
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"index": "IVF64;Flat"}, "retriever.index: IVF64;Flat"),
        ({"index": "IVF16,PQ7"}, "retriever.index: IVF16,PQ7"),  # 7 does not divide 32
        ({"index": "IVF4096,Flat"}, "4096 lists for 3000 vectors"),
        ({"index": "IVF2048,Flat", "index_rows": 1500}, "2048 lists for 1500 vectors"),
        ({"index": "faiss-flat", "index_device": "gpu"}, "finds no GPU"),
        ({"index": "IVF32,Flat", "index_device": "gpu"}, "finds no GPU"),
        ({"index": "SQ8", "effort": 3}, "retriever.effort"),
    ],
)
def test_impossible_index_is_refused_before_anything_is_embedded(settings, named, monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(UserError, match=named.replace(".", r"\.")):
        check_index(Retriever(**settings), 32, 3000)


@pytest.mark.bad_input("shape of a recipe", "an index with too few vectors to train on", "refused")
def test_too_few_vectors_to_train_on_are_refused(tmp_path):
    index = make_index(Retriever(index="PQ8"), make_vector_store(tmp_path, VECTORS[:100]))
    with pytest.raises(UserError, match=r"retriever\.index: PQ8"):
        index.search(QUERIES, 5)
