"""BM25 ranks as bm25s scores, ties to the earlier row, from an index that is made once."""

import bm25s
import numpy as np
import pytest
from helpers.fake_llm import make_numbered_passages
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.recipe import BM25
from distill.retrieve import bm25
from distill.retrieve.bm25 import open_bm25
from distill.retrieve.exact import NO_RESULT
from distill.retrieve.terms import split_terms
from distill.store.run import Run

QUERIES = ["the sea and the moon", "Copper wires", "of the", "zebra", "", "moon, MOON"]


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run") as run:
        yield run


def expected(texts: list[str], query: str) -> np.ndarray:
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index([split_terms(text) for text in texts], show_progress=False)
    known = [term for term in split_terms(query) if term in index.vocab_dict]
    return index.get_scores(known) if known else np.zeros(len(texts), np.float32)


def test_bm25_order_and_scores_are_those_of_the_library(run):
    index = open_bm25(
        run, make_numbered_passages(run), BM25()
    )  # each text twice: every score has its tie
    texts = [TEXTS[i % len(TEXTS)] for i in range(24)]
    scores, rows = index.search(QUERIES, 7)
    for query, own, numbers in zip(QUERIES, scores, rows, strict=True):
        theirs = expected(texts, query)
        np.testing.assert_allclose(index.score(query), theirs, rtol=1e-5)
        best = [i for i in np.lexsort((np.arange(24), -index.score(query))) if theirs[i] > 0][:7]
        assert numbers.tolist() == best + [NO_RESULT] * (7 - len(best))
        np.testing.assert_allclose(own[: len(best)], theirs[best], rtol=1e-5)
        assert np.isneginf(own[len(best) :]).all()


def test_scores_of_some_passages_are_those_of_all_to_the_last_bit(run):
    index = open_bm25(run, make_numbered_passages(run), BM25())
    rows = [23, 0, 7, 7, 12]
    for query in QUERIES:
        assert index.score_rows(query, rows).tobytes() == index.score(query)[rows].tobytes()
        assert index.score_rows(query, []).shape == (0,)


def test_bm25_index_is_made_once(run, monkeypatch):
    passages = make_numbered_passages(run)
    first = open_bm25(run, passages, BM25()).search(QUERIES, 5)
    monkeypatch.setattr(bm25, "build_bm25", None)
    again = open_bm25(run, passages, BM25()).search(QUERIES, 5)
    assert np.array_equal(first[1], again[1])


def test_bm25_never_finds_passages_without_words(run):
    index = open_bm25(
        run, make_numbered_passages(run, 3, text=lambda i: ["...", "!", "moon"][i]), BM25()
    )
    assert index.search(["moon"], 3)[1].tolist() == [[2, NO_RESULT, NO_RESULT]]


def test_corpus_without_any_words_has_nothing_to_find(run):
    index = open_bm25(run, make_numbered_passages(run, 2, text=lambda i: "..."), BM25())
    assert index.search(["moon"], 2)[1].tolist() == [[NO_RESULT, NO_RESULT]]


ASKED = {
    "Chinese": ("冰川沿着山谷缓慢流动。", "火山喷出炽热的熔岩。", "冰川流动"),
    "Japanese": ("氷河は谷をゆっくりと流れる。", "火山は熱い溶岩を噴き出す。", "氷河の流れ"),
    "Thai": ("ธารน้ำแข็งเคลื่อนที่ช้าๆ", "ภูเขาไฟพ่นลาวาร้อน", "ธารน้ำแข็งคืออะไร"),
    "Khmer": ("ផ្ទាំងទឹកកកផ្លាស់ទីយឺតៗ", "ភ្នំភ្លើងបញ្ចេញកម្អែ", "ទឹកកកផ្លាស់ទី"),
    "Hindi": ("हिमनद धीरे बहता है", "ज्वालामुखी से लावा निकलता है", "हिमनद क्या है"),
    "Persian": ("یخچال می\u200cرود", "آتشفشان می\u200cسوزد", "کجا میرود"),
    "half width": ("ガラスの板", "木の板", "ｶﾞﾗｽ"),
}


@pytest.mark.parametrize(
    "language",
    [
        pytest.param(
            name,
            marks=pytest.mark.bad_input("text", f"BM25 over {name}", "finds what shares words"),
        )
        for name in ASKED
    ],
)
def test_words_are_found_in_every_script(run, language):
    first, second, query = ASKED[language]
    index = open_bm25(
        run, make_numbered_passages(run, 2, text=lambda i: [second, first][i]), BM25()
    )
    assert index.search([query], 2)[1][0, 0] == 1


def test_hindi_words_are_not_their_consonants(run):
    index = open_bm25(run, make_numbered_passages(run, 1, text=lambda i: "कि"), BM25())
    assert index.search(["का"], 1)[1].tolist() == [[NO_RESULT]]


TEXTS_OF_STEMS = ["The glaciers were flowing.", "A volcano, and the sea", "Lava is hot"]


def test_bm25_compares_stems_if_a_language_is_set(run):
    passages = make_numbered_passages(run, 3, text=lambda i: TEXTS_OF_STEMS[i])
    asked = ["glacier flows", "the"]
    plain = open_bm25(run, passages, BM25()).search(asked, 1)[1]
    assert plain.tolist()[0] == [NO_RESULT]
    stemmed = open_bm25(run, passages, BM25(language="english")).search(asked, 1)[1]
    assert stemmed.tolist() == [[0], [NO_RESULT]]


def test_bm25_takes_k1_and_b_of_the_recipe(run):
    passages = make_numbered_passages(
        run, 2, text=lambda i: ["moon " * 9 + "sea sand ice", "moon"][i]
    )
    for settings in (BM25(k1=0), BM25(b=0), BM25(k1=0.9, b=0.4)):
        theirs = bm25s.BM25(method="lucene", k1=settings.k1, b=settings.b)
        texts = [split_terms("moon " * 9 + "sea sand ice"), split_terms("moon")]
        theirs.index(texts, show_progress=False)
        own = open_bm25(run, passages, settings).score("moon")
        np.testing.assert_allclose(own, theirs.get_scores(["moon"]), rtol=1e-6)


def test_stemmer_that_is_not_installed(run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs PyStemmer") as fault:
        open_bm25(run, make_numbered_passages(run), BM25(language="english"))
    assert "pip install" in fault.value.remedy
    assert not (run.folder / "bm25").exists()
