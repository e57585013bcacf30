"""Graphs of the query side of a model that embeds queries and documents by two models."""

import re

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from distill.embed.open_model import open_model
from distill.export.export import export_model
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import EmbedderConfig, Student
from distill.student.static.addition import add_static
from distill.student.static.tokens import count_vectors, make_tokenizer
from distill.train.query_route import join_routes

QUERIES = ["how do bees tell others about flowers", "bees"]


@pytest.fixture(scope="module")
def queries(encoder_folder) -> SentenceTransformer:
    """A transformer and token vectors."""
    model = load_sentence_model(encoder_folder, "cpu")
    model.prompts["query"] = "find: "
    tokenizer = make_tokenizer(Student(encoder=str(encoder_folder)), None)
    vectors = np.random.default_rng(0).normal(size=(count_vectors(tokenizer), 32))
    add_static(model, StaticEmbedding(tokenizer, vectors.astype(np.float32)), 0.5, QUERIES)
    return model


def snippets(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


@pytest.mark.parametrize("documents", [True, False])
def test_every_form_and_snippet_gives_the_query_the_same_vector(
    queries, encoder_folder, tmp_path, monkeypatch, documents
):
    teacher = open_model(str(encoder_folder), EmbedderConfig(device="cpu"))
    routed = join_routes(queries, teacher if documents else None)
    routed.save_pretrained(str(tmp_path / "student"))
    written = export_model(str(tmp_path / "student"), tmp_path / "out")
    assert written["onnx"].path == "query/onnx/embedding.onnx"
    assert written["int8"].path == "query/onnx/embedding_int8.onnx"
    assert written["onnx"].parity.cosine_min > 0.9999
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("`encode_document` fails" in card) is not documents
    monkeypatch.chdir(tmp_path)
    found: list[dict] = []
    for snippet in snippets(card):
        found.append({})
        exec(snippet, found[-1])
    ours, graph = (one["queries"] for one in found)
    np.testing.assert_allclose(graph, ours, atol=1e-5)
    np.testing.assert_allclose(ours, queries.encode_query(QUERIES[:1]), atol=1e-5)


def test_graph_alone_has_its_tokenizer_beside_it(queries, tmp_path):
    join_routes(queries, None).save_pretrained(str(tmp_path / "student"))
    export_model(str(tmp_path / "student"), tmp_path / "out", ["onnx"])
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert {"query/onnx/embedding.onnx", "query/tokenizer.json", "README.md"} <= names
    assert "modules.json" not in names
