"""A query that was searched once is not searched again; what is found is what a search finds."""

import sqlite3
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.vectors import draw_tied_vectors, draw_unit_vectors, make_vector_store

from distill.embed.wording import EmbedderPrompts
from distill.recipe import Retriever
from distill.retrieve.dense import search_cache as module
from distill.retrieve.dense.search_cache import QueryBatch, open_search_cache
from distill.retrieve.exact import ExactIndex
from distill.workers.local import LOCAL

QUERIES = [f"query {number}" for number in range(30)]
TASKS = ["Find it."] * len(QUERIES)


class CountingIndex(ExactIndex):
    searched = 0

    def search(self, queries, k):
        self.searched += len(queries)
        return super().search(queries, k)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MIN_PASSAGES", 10)
    return SimpleNamespace(folder=tmp_path, workers=LOCAL)


class Searches:
    """The searches of a run, with an index that counts what it is asked."""

    def __init__(self, run, vectors, keeps=0, **settings):
        store = make_vector_store(run.folder, vectors)
        self.vectors = vectors
        self.index = CountingIndex(vectors)
        self.cache = open_search_cache(run, Retriever(**settings), store, keeps)

    def search(self, queries, tasks, vectors, k):
        encoder = SimpleNamespace(
            identity={"model": "x"}, wording=EmbedderPrompts("{task} {query}")
        )
        batch = QueryBatch(queries, tasks, vectors)
        return self.cache.search(self.index, encoder, self.vectors, [batch], k)[0]


def opened(run, vectors, keeps=0, **settings):
    searches = Searches(run, vectors, keeps, **settings)
    return searches, searches.index


@pytest.mark.parametrize(
    "vectors", [draw_unit_vectors(500, 24, 3), draw_tied_vectors(400), draw_unit_vectors(21, 24, 4)]
)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_kept_results_are_those_of_a_search(run, vectors, precision):
    vectors, queries = vectors.astype(precision), draw_unit_vectors(30, 24, 5)
    first, _ = opened(run, vectors, keeps=20)
    first.search(QUERIES, TASKS, queries, 7)
    # As another batch would give them.
    again = (queries + np.float32(1e-7) * draw_unit_vectors(30, 24, 6)).astype(np.float32)
    second, index = opened(run, vectors)
    for k in (1, 7, 20, 40):
        searched = ExactIndex(vectors).search(again, k)
        for one, other in zip(second.search(QUERIES, TASKS, again, k), searched, strict=True):
            assert np.array_equal(one, other)
    if len(vectors) == 500:
        assert index.searched == len(QUERIES)  # the deepest alone


def test_query_of_another_task_is_searched(run):
    vectors, queries = draw_unit_vectors(300, 24, 3), draw_unit_vectors(30, 24, 5)
    opened(run, vectors, keeps=20)[0].search(QUERIES, TASKS, queries, 5)
    searches, index = opened(run, vectors)
    searches.search(QUERIES, ["Find that."] * len(QUERIES), queries, 5)
    assert index.searched == len(QUERIES)


def test_searches_of_another_vector_or_of_changed_rows_are_not_taken(run):
    vectors, queries, others = (
        draw_unit_vectors(300, 24, 3),
        draw_unit_vectors(30, 24, 5),
        draw_unit_vectors(30, 24, 6),
    )
    opened(run, vectors, keeps=20)[0].search(QUERIES, TASKS, queries, 5)
    searches, index = opened(run, vectors)
    _, rows = searches.search(QUERIES, TASKS, others, 5)
    assert index.searched == len(QUERIES)
    assert np.array_equal(rows, ExactIndex(vectors).search(others, 5)[1])


@pytest.mark.bad_input(
    "damage", "searches.sqlite with other passages in its rows", "those queries are searched again"
)
def test_damaged_rows_are_searched_again(run, caplog):
    vectors, queries = draw_unit_vectors(300, 24, 3), draw_unit_vectors(30, 24, 5)
    opened(run, vectors, keeps=20)[0].search(QUERIES, TASKS, queries, 5)
    with sqlite3.connect(run.folder / "searches.sqlite") as db:
        db.execute("UPDATE searches SET passages = zeroblob(length(passages))")
    db.close()
    searches, index = opened(run, vectors)
    _, rows = searches.search(QUERIES, TASKS, queries, 5)
    assert index.searched == len(QUERIES)
    assert np.array_equal(rows, ExactIndex(vectors).search(queries, 5)[1])
    assert "30 of its searches are damaged; they are made again" in caplog.text


@pytest.mark.parametrize("settings", [{"index": "HNSW16"}, {"index": "IVF4,Flat"}])
def test_searches_of_an_approximate_index_are_not_kept(run, settings):
    searches, _ = opened(run, draw_unit_vectors(300, 24, 3), keeps=20, **settings)
    searches.search(QUERIES, TASKS, draw_unit_vectors(30, 24, 5), 5)
    assert not (run.folder / "searches.sqlite").exists()


def test_searches_of_a_small_corpus_are_not_kept(run):
    searches, _ = opened(run, draw_unit_vectors(9, 24, 3), keeps=20)
    searches.search(QUERIES, TASKS, draw_unit_vectors(30, 24, 5), 5)
    assert not (run.folder / "searches.sqlite").exists()
