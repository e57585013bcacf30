"""BM25 and fusion as mteb asks them."""

from types import SimpleNamespace

import pytest

from distill.evaluate.baselines.rankings import NO_DOCUMENT, rank_documents
from distill.evaluate.baselines.searchers import BM25Search, FusedSearch, find_language
from distill.recipe import BM25

datasets = pytest.importorskip("datasets")
mteb = pytest.importorskip("mteb")

CORPUS = {
    "id": ["tides", "owls", "roads"],
    "title": ["Tides", "", "Roads"],
    "text": ["The sea rises and falls.", "An owl turns its head.", "Salted in winter."],
}


def search(texts, language="und-Zyyy", settings=None, count=10):
    found = BM25Search(settings or BM25())
    metadata = SimpleNamespace(eval_langs=[language])
    corpus = datasets.Dataset.from_dict(CORPUS)
    found.index(corpus, task_metadata=metadata, hf_subset="default")
    queries = datasets.Dataset.from_dict({"id": list(texts), "text": list(texts)})
    return found.search(queries, top_k=count)


def test_bm25_finds_words_of_title_and_text():
    found = search(["tides at sea", "an owl", "winter roads"])
    assert {query: next(iter(rank_documents(of))) for query, of in found.items()} == {
        "tides at sea": "tides",
        "an owl": "owls",
        "winter roads": "roads",
    }


def test_query_without_a_word_of_the_corpus_finds_nothing():
    assert search(["glacier"]) == {"glacier": {NO_DOCUMENT: 0.0}}


def test_bm25_stems_in_the_language_that_the_task_states():
    assert list(search(["turning heads"])["turning heads"]) == [NO_DOCUMENT]
    assert list(search(["turning heads"], "eng-Latn")["turning heads"]) == ["owls"]
    own = BM25(language="english")
    assert list(search(["turning heads"], settings=own)["turning heads"]) == ["owls"]


@pytest.mark.parametrize(
    ("stated", "subset", "language"),
    [
        (["eng-Latn"], "default", "english"),
        (["und-Zyyy"], "default", None),
        (["cmn-Hans"], "default", None),
        (["eng-Latn", "deu-Latn"], "default", None),
        ({"ar": ["arb-Arab"], "el": ["ell-Grek"]}, "ar", "arabic"),
        ({"ar": ["arb-Arab"], "el": ["ell-Grek"]}, "el", "greek"),
        (["nob-Latn"], "default", "norwegian"),
    ],
)
def test_language_of_a_task(stated, subset, language):
    assert find_language(SimpleNamespace(eval_langs=stated), subset) == language


def test_hybrid_ranks_by_the_scores_of_both():
    dense = {"test/default": {"q": {"a": 0.9, "b": 0.8, "c": 0.1}, "none": {}}}
    lexical = {"test/default": {"q": {"b": 7.0, "c": 1.0}, "none": {}}}
    hybrid = FusedSearch("own/hybrid", {}, lambda: [dense, lexical])
    hybrid.index(None)
    queries = datasets.Dataset.from_dict({"id": ["q", "none"], "text": ["", ""]})
    ranked = hybrid.search(queries, hf_split="test", hf_subset="default", top_k=10)
    assert list(rank_documents(ranked["q"])) == ["b", "a", "c"]
    assert ranked["none"] == {NO_DOCUMENT: 0.0}


def test_baseline_results_differ_by_settings_and_sources():
    assert BM25Search(BM25()).revision != BM25Search(BM25(k1=2)).revision
    one, other = (FusedSearch("own/fused", {"dense": name}, list) for name in ("a", "b"))
    assert one.revision != other.revision
