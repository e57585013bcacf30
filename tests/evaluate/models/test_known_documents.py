"""A passage whose vector the run's store has is not encoded again in an evaluation."""

import dataclasses

import numpy as np
import pytest
from helpers.mteb_calls import encode_as_mteb
from helpers.query_rows import make_filter_recipe, make_passage, prepare_parsed
from helpers.tiny_models import TEXTS, make_tiny_encoder
from sentence_transformers import SentenceTransformer

from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.models.known_documents import KnownDocuments
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.recipe import EmbedderConfig
from distill.retrieve.corpus_index import embed_corpus, open_encoder
from distill.store.run import Run

pytest.importorskip("mteb")

ROWS = [make_passage(f"p{n}", text, title="") for n, text in enumerate(TEXTS)]
READ = {"max_tokens": 32, "device": "cpu"}
STRANGER = "a text that is no passage"


@pytest.fixture
def run_of(tmp_path):
    """Make a run whose store has the vectors of its passages by a model."""

    def make(folder):
        settings = make_filter_recipe(retriever={"model": str(folder)} | READ).retriever
        with Run(tmp_path / "run") as run:
            passages, _ = prepare_parsed(run, [ROWS[:5], ROWS[5:]], [])
            embed_corpus(run, open_encoder(settings), passages)
        return Run(tmp_path / "run")

    return make


def open_with_known(folder, run):
    model = load_eval_model(folder, settings=EmbedderConfig(**READ))
    return dataclasses.replace(model, known=KnownDocuments(run, model))


@pytest.mark.parametrize("prompts", [{}, {"query": "q: ", "document": "d: "}])
def test_passage_of_the_store_is_not_encoded_again(tmp_path, run_of, encoded, prompts):
    folder = make_tiny_encoder(tmp_path / "model", prompts=prompts)
    run = run_of(folder)
    texts = [*reversed(TEXTS), STRANGER]
    wanted = encode_as_mteb(
        wrap_for_mteb(load_eval_model(folder, device="cpu")), texts, "SciFact", "document"
    )
    encoded.clear()
    encoder = wrap_for_mteb(open_with_known(folder, run), tmp_path / "vectors")
    found = encode_as_mteb(encoder, texts, "SciFact", "document")
    assert encoded == [STRANGER]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_queries_and_documents_under_another_prompt_are_encoded(tmp_path, run_of, encoded):
    folder = make_tiny_encoder(tmp_path / "model", prompts={"query": "q: ", "document": "d: "})
    model = open_with_known(folder, run_of(folder))
    encoded.clear()
    encode_as_mteb(wrap_for_mteb(model, tmp_path / "vectors"), TEXTS, "SciFact", "query")
    assert sorted(encoded) == sorted(TEXTS)
    encoded.clear()
    other = dataclasses.replace(
        model, prompts=dataclasses.replace(model.prompts, given={"document": "other: "})
    )
    encode_as_mteb(wrap_for_mteb(other, tmp_path / "vectors"), TEXTS, "SciFact", "document")
    assert sorted(encoded) == sorted(TEXTS)


def test_vectors_that_keep_their_own_length_are_computed(tmp_path, run_of, encoded):
    """The store has them with length one."""
    whole = SentenceTransformer(str(make_tiny_encoder(tmp_path / "model")), device="cpu")
    SentenceTransformer(modules=list(whole)[:2]).save_pretrained(str(tmp_path / "bare"))
    model = open_with_known(tmp_path / "bare", run_of(tmp_path / "bare"))
    encoded.clear()
    encode_as_mteb(wrap_for_mteb(model, tmp_path / "vectors"), TEXTS, "SciFact", "document")
    assert sorted(encoded) == sorted(TEXTS)


def test_run_without_a_corpus_knows_nothing(tmp_path, encoded):
    model = open_with_known(make_tiny_encoder(tmp_path / "model"), Run(tmp_path / "run"))
    encode_as_mteb(wrap_for_mteb(model, tmp_path / "v"), TEXTS, "SciFact", "document")
    assert sorted(encoded) == sorted(TEXTS)


def test_run_without_vectors_of_the_model_knows_nothing(tmp_path, run_of, encoded):
    run = run_of(make_tiny_encoder(tmp_path / "model"))
    other = make_tiny_encoder(tmp_path / "other", seed=5)
    encoded.clear()
    encode_as_mteb(
        wrap_for_mteb(open_with_known(other, run), tmp_path / "v"), TEXTS, "SciFact", "document"
    )
    assert sorted(encoded) == sorted(TEXTS)
