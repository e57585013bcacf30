"""Encoders give on a GPU the vectors that they give on the CPU, and search finds the same rows."""

import numpy as np
import pytest
import torch
from conftest import MINILM
from helpers.tiny_models import TEXTS, make_tiny_cross_encoder
from helpers.vectors import draw_tied_vectors, draw_unit_vectors
from sentence_transformers import SentenceTransformer
from transformers.utils.import_utils import is_flash_attn_2_available

from distill.embed.open_embedder import load_encoder
from distill.models.bidirectional import can_see_later_tokens
from distill.recipe import EmbedderConfig
from distill.retrieve.cross_encoder import CrossEncoderJudge
from distill.retrieve.exact import ExactIndex
from distill.retrieve.torch_exact import TorchExactIndex
from distill.train.loop.model_overrides import FLASH, override_attention

RAGGED = [" ".join(TEXTS)[:length] for length in (3, 900, 40, 200, 15, 77)] + TEXTS


def encode(reference: str, **settings) -> np.ndarray:
    settings |= {"max_tokens": 48, "batch_tokens": 100}
    return load_encoder(reference, EmbedderConfig(**settings)).encode(RAGGED, "query")


def smallest_cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float((one * other).sum(axis=1).min())


def test_vectors_are_those_of_the_cpu(device, encoder_folder):
    cpu = encode(str(encoder_folder), device="cpu", dtype="float32")
    there = encode(str(encoder_folder), device=device, dtype="float32")
    assert smallest_cosine(cpu, there) > 0.9999


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "cosine"), [("float32", 0.9999), ("auto", 0.999)])
def test_vectors_of_a_real_model_are_those_of_the_cpu(cuda, dtype, cosine):
    cpu = encode(MINILM, device="cpu", dtype="float32")
    assert smallest_cosine(cpu, encode(MINILM, device=cuda, dtype=dtype)) > cosine


def test_cross_encoder_scores_as_on_the_cpu(device, tmp_path):
    folder = str(make_tiny_cross_encoder(tmp_path / "cross"))
    requests = [(text, ("why", "a longer query of some words")) for text in TEXTS[:4]]
    cpu, there = (CrossEncoderJudge(folder, 48, d).judge(requests) for d in ("cpu", device))
    for ours, theirs in zip(there, cpu, strict=True):
        assert [s for s, _ in ours] == pytest.approx([s for s, _ in theirs], abs=1e-3)


@pytest.mark.parametrize(
    "kernel",
    [
        "sdpa",
        "eager",
        pytest.param(
            FLASH,
            marks=pytest.mark.skipif(not is_flash_attn_2_available(), reason="needs flash-attn"),
        ),
    ],
)
def test_encoder_sees_both_ways_and_a_decoder_does_not(device, kernel, encoder_folder, llm_folder):
    """In float32, and in bfloat16, whose rounding could hide it."""
    model = SentenceTransformer(str(encoder_folder), device="cpu").to(device).eval()
    with override_attention(model, kernel):
        for dtype in (torch.bfloat16, *([] if kernel == FLASH else [torch.float32])):
            for padded in (False, True):
                with torch.autocast(model.device.type, dtype, enabled=dtype == torch.bfloat16):
                    assert can_see_later_tokens(model[0], model.tokenizer, padded)
    decoder = SentenceTransformer(str(llm_folder), device="cpu").to(device).eval()
    for padded in (False, True):
        assert not can_see_later_tokens(decoder[0], decoder.tokenizer, padded)


@pytest.mark.parametrize(
    ("vectors", "k"), [(draw_unit_vectors(500, 24, 3), 5), (draw_tied_vectors(400), 20)]
)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_exact_search_finds_what_the_cpu_finds(device, vectors, k, precision):
    vectors = vectors.astype(precision)
    queries = np.concatenate([draw_unit_vectors(30, 24, 5), vectors[:10].astype(np.float32)])
    scores, rows = ExactIndex(vectors).search(queries, k)
    there_scores, there_rows = TorchExactIndex(vectors, device, 64).search(queries, k)
    assert np.array_equal(there_rows, rows)
    assert np.array_equal(there_scores, scores)


@pytest.mark.gpu
def test_exact_search_over_many_vectors_in_memory_and_from_disk(cuda, monkeypatch):
    vectors, queries = draw_unit_vectors(200_000, 384, 1), draw_unit_vectors(300, 384, 2)
    scores, rows = ExactIndex(vectors).search(queries, 20)
    index = TorchExactIndex(vectors, cuda)
    for share in (0.5, 0.0):  # of the GPU's memory that the vectors may take
        monkeypatch.setattr("distill.retrieve.torch_exact._MEMORY_SHARE", share)
        index = TorchExactIndex(vectors, cuda)
        there_scores, there_rows = index.search(queries, 20)
        assert np.array_equal(there_rows, rows)
        assert np.array_equal(there_scores, scores)
        assert bool(index._resident) is (share > 0)
