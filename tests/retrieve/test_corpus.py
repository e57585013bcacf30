"""The corpus' vectors are computed once a run, whoever asks first."""

import numpy as np
import pytest
from generate.filters.rows import passage, prepare, recipe
from tiny import TEXTS

from distill.retrieve import vectors as store
from distill.retrieve.corpus import corpus_vectors, open_encoder
from distill.retrieve.vectors import embed
from distill.run import Run
from distill.tables import passage_text

ROWS = [passage(f"p{n}", text, title=f"Title {n}") for n, text in enumerate(TEXTS)]


@pytest.fixture
def encoder(encoder_folder, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 5)
    return open_encoder(recipe(retriever={"model": str(encoder_folder), "device": "cpu"}).retriever)


def test_they_are_those_of_all_texts_at_once(tmp_path, encoder, monkeypatch):
    with Run(tmp_path / "run") as run:
        passages, _ = prepare(run, [ROWS[:3], ROWS[3:4], ROWS[4:]], [])
        found = corpus_vectors(run, encoder, passages)
        monkeypatch.setattr(encoder, "encode", None)  # all that follows comes from the store
        ids, texts = [r["passage_id"] for r in ROWS], [passage_text(r) for r in ROWS]
        again = embed(run.folder / "vectors", encoder, "document", ids, texts, "embed passages")
    assert found.ids == again.ids == ids
    assert np.array_equal(found.vectors, again.vectors)
    assert len(list((tmp_path / "run" / "vectors").iterdir())) == 1
