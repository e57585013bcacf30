"""The teacher's vectors: of the right side, computed once, shared with the retriever's store."""

import numpy as np
import pytest
import torch
from helpers.tiny_models import TEXTS, make_tiny_encoder

from distill.embed.encoder import Encoder
from distill.embed.open_embedder import load_encoder
from distill.embed.vectors.vector_store import embed
from distill.recipe import EmbedderConfig, Recipe
from distill.store.run import Run
from distill.teacher.vectors import TeacherRows, embed_with_teacher


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    prompts = {"query": "the sea: ", "document": "the air: "}
    return make_tiny_encoder(tmp_path_factory.mktemp("teacher") / "t", seed=3, prompts=prompts)


def recipe(folder) -> Recipe:
    return Recipe.model_validate(
        {"name": "tiny", "teacher": {"model": str(folder), "device": "cpu", "max_tokens": 32}}
    )


QUERIES = {"q0": "bees", "q1": "salt and water"}
PASSAGES = {f"p{i}": text for i, text in enumerate(TEXTS)}
OTHERS = {"t0": "An owl can turn its head."}


def test_rows_are_numbered_on_and_each_side_has_its_prompt(tmp_path, prompted):
    with Run(tmp_path) as run:
        rows = embed_with_teacher(run, recipe(prompted).teacher, QUERIES, PASSAGES, OTHERS)
    encoder = load_encoder(str(prompted), EmbedderConfig(max_tokens=32, device="cpu"))
    expected = np.concatenate(
        [
            encoder.encode(list(QUERIES.values()), "query"),
            encoder.encode([*PASSAGES.values(), *OTHERS.values()], "document"),
        ]
    )
    assert len(rows) == len(expected)
    assert np.allclose(rows.take(torch.arange(len(rows))).numpy(), expected, atol=1e-5)
    last_first = torch.tensor([len(rows) - 1, 0])
    assert np.allclose(rows.take(last_first).numpy(), expected[[-1, 0]], atol=1e-5)
    assert not np.allclose(encoder.encode(["bees"], "query"), encoder.encode(["bees"], "document"))


def test_vectors_of_the_retriever_are_not_computed_again_for_the_teacher(
    tmp_path, prompted, monkeypatch
):
    encoder = load_encoder(str(prompted), EmbedderConfig(max_tokens=32, device="cpu"))
    with Run(tmp_path) as run:
        root = run.folder / "vectors"
        whole = encoder.wording.write(list(PASSAGES.values()), "document")
        embed(root, encoder, "document", list(PASSAGES), whole, "retriever")
        asked = []
        encode = Encoder.encode_prompted
        monkeypatch.setattr(
            Encoder,
            "encode_prompted",
            lambda self, texts, side: asked.extend(texts) or encode(self, texts, side),
        )
        embed_with_teacher(run, recipe(prompted).teacher, QUERIES, PASSAGES)
        assert asked == [f"the sea: {text}" for text in QUERIES.values()]
        asked.clear()
        embed_with_teacher(run, recipe(prompted).teacher, QUERIES, PASSAGES)
        assert asked == []


def test_row_that_is_not_there_is_refused():
    rows = TeacherRows([np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)])
    assert rows.take(torch.tensor([2])).tolist() == [[1, 1, 1]]
    assert rows.take(torch.tensor([], dtype=torch.long)).shape == (0, 3)
    for number in (3, -1):
        with pytest.raises(IndexError):
            rows.take(torch.tensor([number]))
