"""A static query encoder added to a transformer's vectors."""

import numpy as np
import pytest
import torch
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import Student
from distill.student.static.addition import add_static, map_tokens
from distill.student.static.tokens import count_vectors, make_tokenizer


@pytest.fixture
def model(encoder_folder) -> SentenceTransformer:
    return load_sentence_model(encoder_folder, "cpu")


@pytest.fixture
def tokenizer(encoder_folder) -> Tokenizer:
    """The encoder's, with the tokens of half of the texts."""
    return make_tokenizer(Student(encoder=str(encoder_folder)), TEXTS[:6])


@pytest.fixture
def static(tokenizer, model) -> StaticEmbedding:
    torch.manual_seed(0)
    width = model.get_embedding_dimension()
    return StaticEmbedding(tokenizer, torch.randn(count_vectors(tokenizer), width))


def sum_tokens(static: StaticEmbedding, text: str, among: int) -> np.ndarray:
    """The sum of the text's token vectors over the root of `among` tokens."""
    ids = static.tokenizer.encode(text, add_special_tokens=False).ids
    return static.embedding.weight[ids].sum(0).detach().numpy() / np.sqrt(among)


def test_sum_is_the_transformers_vector_and_the_weighted_one_of_the_tokens(model, static):
    before = model.encode(TEXTS[:6])
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in TEXTS[:6]]
    added = np.stack([sum_tokens(static, *of) for of in zip(TEXTS[:6], lengths, strict=True)])
    mean = np.linalg.norm(added, axis=1).mean()
    add_static(model, static, 0.5, TEXTS[:6])
    expected = before + 0.5 * added / mean
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(TEXTS[:6]), expected, atol=1e-5)
    # One by one as together, where padding stands beside the shorter texts.
    alone = np.stack([model.encode(text) for text in TEXTS[:6]])
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_tokens_that_the_static_encoder_lacks_add_nothing(model, static):
    known = static.tokenizer.get_vocab()
    vectors = map_tokens(static, model.tokenizer)
    for token, number in model.tokenizer.get_vocab().items():
        empty = token not in known or number in model.tokenizer.all_special_ids
        assert bool((vectors[number] == 0).all()) is empty, token
        if not empty:
            assert torch.equal(vectors[number], static.embedding.weight[known[token]])


def test_text_without_known_tokens_keeps_the_transformers_vector(model, static):
    with torch.no_grad():
        static.embedding.weight.zero_()
    before = model.encode(TEXTS)
    add_static(model, static, 0.5, TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS), before, atol=1e-6)


def test_sum_comes_back_from_disk(model, static, tmp_path):
    add_static(model, static, 0.5, TEXTS)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    for loaded in (SentenceTransformer(str(tmp_path)), load_sentence_model(tmp_path, "cpu")):
        np.testing.assert_allclose(loaded.encode(TEXTS), model.encode(TEXTS), atol=1e-6)
