"""Vectors that another run has computed are copied, and none is embedded a second time."""

import shutil

import numpy as np
import pytest

from distill.api.session import open_job
from distill.embed.open_embedder import load_encoder
from distill.embed.vectors import vector_store as store
from distill.embed.vectors.other_run import take_vectors_from
from distill.embed.vectors.vector_store import embed, is_stored
from distill.errors import UserError
from distill.recipe import EmbedderConfig, load_recipe, override
from distill.retrieve.corpus_index import embed_corpus, open_encoder

TEXTS = [f"Tides follow the moon, {n} times a day, and bees dance." for n in range(10)]
IDS = [f"p{n}" for n in range(10)]


class Refuses:
    """An encoder that nobody may ask for a vector."""

    def __init__(self, encoder) -> None:
        self.identity, self.dimensions = encoder.identity, encoder.dimensions
        self.wording = encoder.wording

    def encode_prompted(self, texts, side):
        raise AssertionError("embedded a second time")


@pytest.fixture
def encoder(encoder_folder, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 4)
    return load_encoder(
        str(encoder_folder), EmbedderConfig(max_tokens=32, device="cpu", batch_tokens=64)
    )


def embed_into(folder, encoder):
    return embed(folder / "vectors", encoder, "document", IDS, TEXTS, "embed")


@pytest.fixture
def first(tmp_path, encoder):
    return embed_into(tmp_path / "first", encoder)


def test_vectors_of_another_run_are_copied(tmp_path, encoder, first):
    take_vectors_from(tmp_path / "second" / "vectors", str(tmp_path / "first"))
    here = (tmp_path / "second" / "vectors", Refuses(encoder), "document", IDS, TEXTS)
    assert is_stored(*here)
    second = embed_into(tmp_path / "second", Refuses(encoder))
    assert np.array_equal(first.vectors, second.vectors)
    shutil.rmtree(tmp_path / "first")
    assert is_stored(*here)
    take_vectors_from(tmp_path / "second" / "vectors", str(tmp_path / "first"))  # it had been there


def test_other_texts_are_embedded_though_another_run_is_named(tmp_path, encoder, first):
    root = tmp_path / "second" / "vectors"
    take_vectors_from(root, str(tmp_path / "first"))
    others = [*TEXTS[:-1], "another"]
    assert not is_stored(root, encoder, "document", IDS, others)
    vectors = embed(root, encoder, "document", IDS, others, "embed").vectors
    assert np.array_equal(vectors[:8], first.vectors[:8])
    assert not np.array_equal(vectors[9], first.vectors[9])


def test_unfinished_and_damaged_vectors_of_another_run_are_embedded(tmp_path, encoder, first):
    path = next((tmp_path / "first").glob("vectors/*/vectors.npy"))
    data = bytearray(path.read_bytes())
    data[-8:] = b"\0" * 8
    path.write_bytes(bytes(data))
    take_vectors_from(tmp_path / "second" / "vectors", str(tmp_path / "first"))
    whole = embed_into(tmp_path / "whole", encoder)
    assert np.array_equal(embed_into(tmp_path / "second", encoder).vectors, whole.vectors)

    (path.parent / "done.json").write_text('{"rows": 4}')
    take_vectors_from(tmp_path / "third" / "vectors", str(tmp_path / "first"))
    with pytest.raises(AssertionError, match="a second time"):
        embed_into(tmp_path / "third", Refuses(encoder))


@pytest.mark.bad_input("recipe", "vectors from a folder that is no run", "refused by its path")
def test_folder_without_vectors_is_refused(tmp_path):
    with pytest.raises(UserError) as refused:
        take_vectors_from(tmp_path / "run" / "vectors", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in refused.value.where
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_recipe_that_names_another_run_embeds_no_passage(whole_run, recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    recipe = override(recipe, {"retriever.vectors_from": str(whole_run)})
    with open_job(recipe, tmp_path / "run", "never") as job:
        passages = job.make_corpus().passages
        vectors = embed_corpus(job.run, Refuses(open_encoder(recipe.retriever)), passages).vectors
    folder = next((tmp_path / "run" / "vectors").glob("*/vectors.npy")).parent
    theirs = np.load(whole_run / "vectors" / folder.name / "vectors.npy")
    assert np.array_equal(vectors, theirs)
