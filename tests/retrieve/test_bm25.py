"""BM25 ranks as bm25s scores, ties to the earlier row, from an index that is made once."""

import bm25s
import numpy as np
import pytest
from standin import passages_of
from tiny import TEXTS

from distill.retrieve import bm25
from distill.retrieve.bm25 import open_bm25, words
from distill.retrieve.search import NOTHING
from distill.run import Run

QUERIES = ["the sea and the moon", "Copper wires", "of the", "zebra", "", "moon, MOON"]


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run") as run:
        yield run


def expected(texts: list[str], query: str) -> np.ndarray:
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index([words(text) for text in texts], show_progress=False)
    known = [word for word in words(query) if word in index.vocab_dict]
    return index.get_scores(known) if known else np.zeros(len(texts), np.float32)


def test_order_and_scores_are_bm25s_own(run):
    index = open_bm25(run, passages_of(run))  # each text twice: every score has its tie
    texts = [TEXTS[i % len(TEXTS)] for i in range(24)]
    scores, rows = index.search(QUERIES, 7)
    for query, own, numbers in zip(QUERIES, scores, rows, strict=True):
        theirs = expected(texts, query)
        np.testing.assert_allclose(index.scores(query), theirs, rtol=1e-5)
        best = [i for i in np.lexsort((np.arange(24), -index.scores(query))) if theirs[i] > 0][:7]
        assert numbers.tolist() == best + [NOTHING] * (7 - len(best))
        np.testing.assert_allclose(own[: len(best)], theirs[best], rtol=1e-5)
        assert np.isneginf(own[len(best) :]).all()


def test_an_index_is_made_once(run, monkeypatch):
    passages = passages_of(run)
    first = open_bm25(run, passages).search(QUERIES, 5)
    monkeypatch.setattr(bm25, "_make", None)
    again = open_bm25(run, passages).search(QUERIES, 5)
    assert np.array_equal(first[1], again[1])


def test_passages_without_words_are_never_found(run):
    index = open_bm25(run, passages_of(run, 3, text=lambda i: ["...", "!", "moon"][i]))
    assert index.search(["moon"], 3)[1].tolist() == [[2, NOTHING, NOTHING]]


def test_a_corpus_without_any_words_has_nothing_to_find(run):
    index = open_bm25(run, passages_of(run, 2, text=lambda i: "..."))
    assert index.search(["moon"], 2)[1].tolist() == [[NOTHING, NOTHING]]
