"""The corpus' vectors are computed once a run, whoever asks first; and a retriever's identity is
what changes its results."""

import numpy as np
import pytest
from helpers.query_rows import make_filter_recipe, make_passage, prepare_parsed
from helpers.tiny_models import TEXTS

from distill.embed.vectors import vector_store as store
from distill.embed.vectors.vector_store import embed
from distill.errors import UserError
from distill.files.atomic import read_json
from distill.models.reference import identify_revision
from distill.recipe import Retriever
from distill.retrieve.corpus_index import (
    embed_corpus,
    has_corpus_vectors,
    identify_retriever,
    open_dense_index,
    open_encoder,
)
from distill.store.passages import PassageIds, PassageTexts
from distill.store.run import Run
from distill.store.tables import join_passage
from distill.workers.local import LOCAL
from distill.workers.shares import ShareTaker, ShareWorkers, WorkShare

ROWS = [make_passage(f"p{n}", text, title=f"Title {n}") for n, text in enumerate(TEXTS)]


@pytest.fixture
def encoder(encoder_folder, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 5)
    return open_encoder(
        make_filter_recipe(retriever={"model": str(encoder_folder), "device": "cpu"}).retriever
    )


def test_corpus_vectors_equal_those_of_all_texts_at_once(tmp_path, encoder, monkeypatch):
    with Run(tmp_path / "run") as run:
        passages, _ = prepare_parsed(run, [ROWS[:3], ROWS[3:4], ROWS[4:]], [])
        found = embed_corpus(run, encoder, passages)
        monkeypatch.setattr(
            encoder, "encode_prompted", None
        )  # all that follows comes from the store
        ids, texts = [r["passage_id"] for r in ROWS], [join_passage(r) for r in ROWS]
        again = embed(run.folder / "vectors", encoder, "document", ids, texts, "embed passages")
    assert list(found.ids) == again.ids == ids
    assert np.array_equal(found.vectors, again.vectors)
    assert len(list((tmp_path / "run" / "vectors").iterdir())) == 1


@pytest.mark.bad_input(
    "shape of a recipe",
    "an index that FAISS does not know",
    "refused before the corpus is embedded",
)
def test_index_that_cannot_be_made_is_refused_before_the_corpus_is_embedded(tmp_path, encoder):
    pytest.importorskip("faiss")
    settings = make_filter_recipe(retriever={"model": "m", "index": "IVF999,Flat"}).retriever
    with Run(tmp_path / "run") as run:
        passages, _ = prepare_parsed(run, [ROWS], [])
        with pytest.raises(UserError, match="999 lists for 12 vectors"):
            open_dense_index(run, settings, encoder, passages)
        assert not (run.folder / "vectors").exists()


def test_index_is_made_before_others_search_it(tmp_path, encoder):
    """Else each worker would train one of its own, and never twice the same."""
    pytest.importorskip("faiss")
    settings = {"model": "m", "index": "IVF2,Flat", "index_rows": 6}
    retriever = make_filter_recipe(retriever=settings).retriever
    folder = tmp_path / "run"
    made = {}
    with Run(folder) as run:
        passages, _ = prepare_parsed(run, [ROWS], [])
        embed_corpus(run, encoder, passages)
        for workers in (ShareWorkers(folder, WorkShare(0, 2)), LOCAL, ShareTaker(folder, True)):
            run.workers = workers
            open_dense_index(run, retriever, encoder, passages)
            paths = folder.glob("vectors/*/index-*/part-*.faiss")
            made[type(workers)] = sorted(path.name for path in paths)
    assert made == {
        ShareWorkers: [],
        type(LOCAL): [],
        ShareTaker: ["part-00000.faiss", "part-00001.faiss"],
    }


@pytest.fixture
def known(encoder_folder):
    """The identity of a retriever with these settings."""

    def of(**settings):
        return identify_retriever(
            make_filter_recipe(retriever={"model": str(encoder_folder), **settings}).retriever
        )

    return of


def test_retriever_identity_names_only_what_is_set(known, encoder_folder):
    assert known() == {
        "model": "a local model",
        "revision": identify_revision(str(encoder_folder)),
        "query_template": "{query}",
        "max_tokens": 256,
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"device": "cpu"},
        {"batch_tokens": 64},
        {"index": "faiss-flat"},
        {"index": "faiss-flat", "index_device": "gpu", "index_gpus": "shards", "index_rows": 9},
        {"index_rows": 9, "effort": 3, "fusion_k": 1},
        {"bidirectional": True},
        {"dtype": "auto", "device": "cpu"},
        {"concurrency": 1, "timeout": 1, "retries": 0, "api_key_variable": "A"},
    ],
)
def test_retriever_identity_leaves_out_what_changes_no_result(known, settings):
    assert known(**settings) == known()


def test_retriever_identity_holds_what_changes_results(known):
    approximate = {"index": "IVF4,Flat"}
    changes = [
        {},
        {"max_tokens": 9},
        {"query_template": "{task} {query}"},
        {"dtype": "bfloat16"},
        {"vectors": "float16"},
        {"sources": ["bm25"]},
        {"sources": ["dense", "bm25"]},
        {"sources": ["bm25", "dense"]},
        {"sources": ["dense", "bm25"], "fusion_k": 1},
        approximate,
        approximate | {"effort": 2},
        approximate | {"index_rows": 9},
        {"index": "HNSW8"},
        {"base_url": "http://localhost/v1"},
    ]
    found = [str(known(**settings)) for settings in changes]
    assert len(set(found)) == len(changes)


def test_retriever_identity_of_dense_search_is_the_same_with_other_terms(encoder_folder):
    """Adding BM25 must not discard the brainstormed tasks, and the generations made from them."""
    plain = {"model": str(encoder_folder), "device": "cpu"}
    dense = Retriever.model_validate(plain)
    expected = identify_retriever(dense)
    assert identify_retriever(dense, embeds=True) == expected
    for settings in (
        {"sources": ["bm25"]},
        {"sources": ["bm25", "dense"], "fusion_k": 3},
        {"sources": ["dense", "bm25"], "bm25": {"language": "english"}},
    ):
        other = Retriever.model_validate(plain | settings)
        assert identify_retriever(other, embeds=True) == expected
        assert identify_retriever(other) != expected


def test_bm25_with_other_terms_has_another_identity(monkeypatch, encoder_folder):
    settings = {"model": str(encoder_folder), "device": "cpu"}
    fused = Retriever.model_validate(settings | {"sources": ["dense", "bm25"]})
    dense = Retriever.model_validate(settings)
    before = [identify_retriever(fused), identify_retriever(dense)]
    monkeypatch.setattr("distill.retrieve.corpus_index.TERMS_RULE", 99)
    assert identify_retriever(fused) != before[0]
    assert identify_retriever(dense) == before[1]


def test_vectors_that_stand_are_opened_without_reading_a_text_or_an_id(
    tmp_path, encoder, monkeypatch
):
    with Run(tmp_path / "run") as run:
        passages, _ = prepare_parsed(run, [ROWS[:5], ROWS[5:]], [])
        first = embed_corpus(run, encoder, passages)
        embed_corpus(run, encoder, passages)  # found by its texts, as an older store is
        with monkeypatch.context() as patch:
            patch.setattr(PassageTexts, "__getitem__", None)
            patch.setattr(PassageIds, "read", None)
            again = embed_corpus(run, encoder, passages)
            assert has_corpus_vectors(run, encoder, passages)
    assert again.folder == first.folder
    ids = [row["passage_id"] for row in ROWS]
    assert list(again.ids) == ids == read_json(first.folder / "ids.json")


def test_vectors_of_other_passages_are_not_found_by_the_same_mark(tmp_path, encoder):
    with Run(tmp_path / "run") as run:
        passages, _ = prepare_parsed(run, [ROWS[:5], ROWS[5:]], [])
        first = embed_corpus(run, encoder, passages)
        embed_corpus(run, encoder, passages)
    other = [*ROWS[:-1], make_passage("last", "Other words.")]
    with Run(tmp_path / "run", overwrite="always") as run:
        passages, _ = prepare_parsed(run, [other[:5], other[5:]], [])
        assert embed_corpus(run, encoder, passages).folder != first.folder
