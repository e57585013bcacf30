"""What an encoder computes in, and what comes out."""

import numpy as np
import pytest
import torch
from helpers.tiny_models import TEXTS, make_tiny_encoder
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from distill.embed.encoder import normalize_rows
from distill.embed.open_embedder import load_encoder, open_embedder
from distill.embed.open_model import choose_dtype
from distill.errors import UserError
from distill.recipe import EmbedderConfig
from distill.workers.shares import ShareTaker


def test_bfloat16_gives_float32_unit_vectors_near_the_exact_ones(encoder_folder):
    exact = load_encoder(str(encoder_folder), EmbedderConfig(max_tokens=32, device="cpu"))
    half = load_encoder(
        str(encoder_folder), EmbedderConfig(max_tokens=32, device="cpu", dtype="bfloat16")
    )
    assert exact.embedder.model.dtype == torch.float32
    assert half.embedder.model.dtype == torch.bfloat16
    assert exact.identity != half.identity
    vectors, expected = half.encode(TEXTS, "query"), exact.encode(TEXTS, "query")
    assert vectors.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert ((vectors * expected).sum(axis=1) > 0.999).all()
    assert not np.array_equal(vectors, expected)


@pytest.mark.parametrize(
    ("name", "device", "native", "expected"),
    [
        ("auto", "cpu", True, "float32"),
        ("auto", "cuda", True, "bfloat16"),
        ("auto", "cuda:1", False, "float32"),
        ("bfloat16", "cpu", False, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_on_a_gpu_that_computes_it(monkeypatch, name, device, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert choose_dtype(name, device) == expected


def test_process_that_gives_work_to_gpus_opens_a_model_without_one(
    monkeypatch, encoder_folder, tmp_path
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = EmbedderConfig(max_tokens=32, device="cuda")
    workers = ShareTaker(tmp_path, stops=True)
    encoder = open_embedder(settings, str(encoder_folder), workers)
    assert encoder.embedder.model.device.type == "cpu"
    assert encoder.source.needs.device == "cuda"
    with pytest.raises(UserError, match="cuda: is not on this machine"):
        open_embedder(settings, str(encoder_folder))


@pytest.fixture
def without_prompts(tmp_path):
    """A model that leaves its prompts out of its vectors."""
    folder = make_tiny_encoder(tmp_path / "encoder")
    model = SentenceTransformer(str(folder), device="cpu")
    next(m for m in model.modules() if isinstance(m, Pooling)).include_prompt = False
    model.save(str(tmp_path / "without"))
    return str(tmp_path / "without")


def test_task_is_left_out_whole_though_a_blank_alone_ends_it(without_prompts):
    settings = EmbedderConfig(max_tokens=32, device="cpu", query_template="{task} {query}")
    encoder = load_encoder(without_prompts, settings)
    expected = encoder.embedder.model.encode(["bees dance"], prompt="Find what dances. ")
    found = encoder.encode(["bees dance"], "query", ["Find what dances."])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(UserError, match="does not show where the task ends"):
        encoder.encode_prompted(["Find what dances. bees dance"], "query")


def test_text_of_no_known_word_is_like_no_other():
    found = normalize_rows(np.array([[0, 0], [3, 4]], np.float32))
    np.testing.assert_allclose(found, [[0, 0], [0.6, 0.8]], atol=1e-7)
