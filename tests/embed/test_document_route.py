"""The document route of a saved query encoder: its teacher's vectors are taken, not computed."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.query_side_recipe import TEXTS
from helpers.tiny_models import make_tiny_encoder
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer

from distill.embed.document_route import note_document_encoder
from distill.embed.open_embedder import load_encoder
from distill.embed.open_model import open_model
from distill.embed.vectors.vector_store import embed, is_stored
from distill.recipe import EmbedderConfig
from distill.train.query_route import join_routes

IDS = ["first", "second"]
SETTINGS = EmbedderConfig(device="cpu", max_tokens=16)


@pytest.fixture
def routed(tmp_path, encoder_folder) -> Path:
    """Other queries than the encoder's, over its documents."""
    queries = SentenceTransformer(str(make_tiny_encoder(tmp_path / "queries", seed=5)))
    documents = open_model(str(encoder_folder), SETTINGS)
    join_routes(queries, documents).save_pretrained(str(tmp_path / "routed"))
    note_document_encoder(tmp_path / "routed", documents.identity)
    return tmp_path / "routed"


@pytest.fixture
def vectors(tmp_path, encoder_folder) -> Path:
    """A folder of vectors that has the encoder's of both texts, on both sides."""
    encoder = load_encoder(str(encoder_folder), SETTINGS)
    for side in ("document", "query"):
        embed(tmp_path / "vectors", encoder, side, IDS, TEXTS, "embedding")
    return tmp_path / "vectors"


def is_known(vectors: Path, model: Path, side="document", settings=SETTINGS) -> bool:
    return is_stored(vectors, load_encoder(str(model), settings), side, IDS, TEXTS)


def test_documents_vectors_are_the_teachers_and_queries_its_own(routed, vectors):
    assert is_known(vectors, routed)
    assert not is_known(vectors, routed, "query")
    encoder, before = load_encoder(str(routed), SETTINGS), sorted(vectors.iterdir())
    store = embed(vectors, encoder, "document", IDS, TEXTS, "embedding")
    assert sorted(vectors.iterdir()) == before
    np.testing.assert_allclose(store.vectors, encoder.encode(TEXTS, "document"), atol=1e-6)


def test_teachers_vectors_that_are_not_there_are_computed_under_its_own_name(routed, tmp_path):
    encoder = load_encoder(str(routed), SETTINGS)
    store = embed(tmp_path / "none", encoder, "document", IDS, TEXTS, "embedding")
    assert json.loads((store.folder / "encoder.json").read_text()) == encoder.identity


def test_changed_weights_are_another_encoder(routed, vectors):
    weights = next(routed.glob("document_0_*/model.safetensors"))
    numbers = {name: values + 0.01 for name, values in load_file(weights).items()}
    save_file(numbers, weights, metadata={"format": "pt"})
    assert not is_known(vectors, routed)


def test_shorter_reading_is_another_encoder(routed, vectors):
    shorter = SETTINGS.model_copy(update={"max_tokens": 8})
    assert not is_known(vectors, routed, settings=shorter)


@pytest.mark.bad_input("model", "a note of its document route that is damaged", "warned of, unused")
@pytest.mark.parametrize("text", ["", "[]", '{"encoder": 5, "route": []}', '{"route": []}'])
def test_damaged_note_is_not_used(routed, vectors, text, caplog):
    (routed / "documents.json").write_text(text)
    assert not is_known(vectors, routed)
    assert "documents.json is not used" in caplog.text
