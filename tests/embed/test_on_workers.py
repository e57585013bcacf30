"""An encoder stays with a worker from stage to stage, and goes when another one comes."""

import gc
import pickle
import weakref
from collections.abc import Iterator

import pytest

from distill.embed import open_embedder
from distill.embed.encoder import Encoder
from distill.embed.on_workers import make_embedding_job
from distill.embed.open_embedder import load_encoder
from distill.recipe import EmbedderConfig
from distill.workers.held_model import begin_stage, release


@pytest.fixture
def loaded(monkeypatch) -> Iterator[list[weakref.ref]]:
    """The models that are loaded from now on."""
    models = []
    load = open_embedder.open_model

    def load_and_tell(*arguments):
        opened = load(*arguments)
        models.append(weakref.ref(opened.model))
        return opened

    monkeypatch.setattr(open_embedder, "open_model", load_and_tell)
    release()
    yield models
    release()


def send(encoder: Encoder) -> list[list[float]]:
    """Embed a text as a worker does in a new stage: it unpickles the job's work, and opens it."""
    begin_stage()
    job = make_embedding_job("embed", encoder, "document", ["Bees dance."], [0], 1, "key")
    # What was pickled here, as Ray pickles its messages.
    opens = pickle.loads(pickle.dumps(job.opens))  # noqa: S301
    with opens() as opened:
        return [vectors.tolist() for vectors in opened.work(job.batches[0])]


def test_encoder_is_loaded_once_by_a_worker_until_another_one_comes(
    encoder_folder, teacher_folder, loaded
):
    settings = EmbedderConfig(max_tokens=32, device="cpu")
    encoder, other = (load_encoder(str(f), settings) for f in (encoder_folder, teacher_folder))
    loaded.clear()
    assert send(encoder) == send(encoder)
    assert len(loaded) == 1
    send(other)
    gc.collect()
    assert [model() is None for model in loaded] == [True, False]
    shorter = load_encoder(str(encoder_folder), EmbedderConfig(max_tokens=16, device="cpu"))
    loaded.clear()
    send(encoder)
    send(shorter)
    assert len(loaded) == 2
