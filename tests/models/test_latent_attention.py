"""Latent attention: the formula with loops, what it reads and leaves alone, and how it loads."""

import math

import numpy as np
import pytest
import torch
from helpers.student_bases import make_base
from helpers.tiny_architectures import make_tiny_decoder
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer
from torch import Tensor

from distill.models.latent_attention import LatentAttention
from distill.models.sentence_transformer import load_sentence_model

LATENT = {"pooling": "latent", "latent": {"latents": 6, "heads": 3}}


def by_hand(module: LatentAttention, states: Tensor) -> Tensor:
    """NV-Embed's released code, one token and one head at a time: (tokens, width)."""
    weights = dict(module.named_parameters())
    width, heads = module.width, module.heads

    def norm(vector: Tensor, name: str) -> Tensor:
        scaled = (vector - vector.mean()) / torch.sqrt(vector.var(correction=0) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    rows = []
    for state in states:
        query = weights["to_query.weight"] @ norm(state, "norm_states")
        answers = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            keys, values = [], []
            for latent in weights["dictionary"]:
                both = weights["to_key_value.weight"] @ norm(latent, "norm_dictionary")
                keys.append(both[: heads * width][part])
                values.append(both[heads * width :][part])
            scores = torch.stack([query[part] @ key / math.sqrt(width) for key in keys])
            shares = scores.exp() / scores.exp().sum()
            answers.append(sum(s * v for s, v in zip(shares, values, strict=True)))
        state = state + weights["to_states.weight"] @ torch.cat(answers)
        up = weights["up.weight"] @ norm(state, "norm_mlp") + weights["up.bias"]
        value, gate = up[: 4 * width], up[4 * width :]
        gelu = gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2)))
        rows.append(state + weights["down.weight"] @ (value * gelu) + weights["down.bias"])
    return torch.stack(rows)


@torch.no_grad()
def test_latent_attention_is_the_formula():
    torch.manual_seed(2)
    module = LatentAttention(width=4, latents=5, heads=3)
    states = torch.randn(2, 7, 4)
    found = module({"token_embeddings": states})["token_embeddings"]
    for text, rows in zip(states, found, strict=True):
        assert torch.allclose(by_hand(module, text), rows, atol=1e-5)


def test_every_weight_learns():
    module = LatentAttention(width=4, latents=5, heads=2)
    module({"token_embeddings": torch.randn(2, 3, 4)})["token_embeddings"].square().sum().backward()
    assert all(weight.grad.abs().max() > 0 for weight in module.parameters())


def test_padding_and_neighbours_change_no_vector(tmp_path):
    make_tiny_decoder(tmp_path / "decoder")
    model = load_sentence_model(make_base(tmp_path / "run", tmp_path / "decoder", **LATENT).folder)
    together = model.encode(TEXTS)
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-5)
    model.tokenizer.padding_side = "left"
    assert np.allclose(model.encode(TEXTS), together, atol=1e-5)


def test_same_seed_makes_the_same_dictionary_and_it_is_float32_safetensors(tmp_path):
    make_tiny_decoder(tmp_path / "decoder")
    files = []
    for name in "ab":
        folder = make_base(tmp_path / name, tmp_path / "decoder", **LATENT).folder
        files.append((folder / "1_LatentAttention" / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_latent_attention_needs_trust_in_the_library_and_not_in_ours(tmp_path):
    make_tiny_decoder(tmp_path / "decoder")
    folder = make_base(tmp_path / "run", tmp_path / "decoder", **LATENT).folder
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(folder), device="cpu")
    assert load_sentence_model(folder, "cpu").encode(TEXTS).shape == (len(TEXTS), 32)


def test_student_that_an_earlier_version_saved_still_loads(tmp_path):
    make_tiny_decoder(tmp_path / "decoder")
    folder = make_base(tmp_path / "run", tmp_path / "decoder", **LATENT).folder
    expected = load_sentence_model(folder, "cpu").encode(TEXTS)
    modules = folder / "modules.json"
    named = modules.read_text()
    assert "distill.models.latent_attention" in named
    modules.write_text(named.replace("distill.models.", "distill.student."))
    assert np.array_equal(load_sentence_model(folder, "cpu").encode(TEXTS), expected)


def test_bfloat16_gives_near_vectors(tmp_path):
    make_tiny_decoder(tmp_path / "decoder", initializer_range=0.05)
    model = load_sentence_model(make_base(tmp_path / "run", tmp_path / "decoder", **LATENT).folder)
    exact = model.encode(TEXTS)
    rough = model.bfloat16().encode(TEXTS, convert_to_tensor=True).float().numpy()
    assert (exact * rough).sum(axis=1).min() > 0.99
