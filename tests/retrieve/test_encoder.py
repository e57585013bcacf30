"""What an encoder computes in, and what comes out."""

import numpy as np
import pytest
import torch
from tiny import TEXTS

from distill.recipe import Embedder
from distill.retrieve.encoder import SentenceTransformerEncoder, computed_dtype


def test_bfloat16_gives_float32_unit_vectors_near_the_exact_ones(encoder_folder):
    exact = SentenceTransformerEncoder(str(encoder_folder), Embedder(max_tokens=32, device="cpu"))
    half = SentenceTransformerEncoder(
        str(encoder_folder), Embedder(max_tokens=32, device="cpu", dtype="bfloat16")
    )
    assert exact.model.dtype == torch.float32
    assert half.model.dtype == torch.bfloat16
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
    assert computed_dtype(name, device) == expected
