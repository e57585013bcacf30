"""A decoder's first tokens see its last one: in every family, padded or not, and after saving."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMOLLM2
from helpers.student_bases import load_student, make_base, make_student_recipe
from helpers.tiny_architectures import DECODERS, make_tiny_decoder
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.models.bidirectional import can_see_later_tokens
from distill.student.base_model import load_encoder
from distill.student.build import build_student


def base(folder: Path, encoder: Path | str, **student: object) -> SentenceTransformer:
    return load_student(make_base(folder, encoder, **student))


def moved(model: SentenceTransformer, position: int, length: int, padded: bool) -> float:
    """How far the first token's state moves when the token at this position becomes another."""
    ids = torch.arange(30, 30 + length).repeat(2, 1)
    mask = torch.ones_like(ids)
    if padded:
        mask[1, length // 2 :] = 0
    states = []
    for token in (300, 301):
        ids[0, position] = token
        features = {"input_ids": ids.clone(), "attention_mask": mask.clone()}
        with torch.inference_mode():
            states.append(model[0](features)["token_embeddings"][0, 0])
    return float((states[0] - states[1]).abs().max())


@pytest.mark.parametrize("family", DECODERS)
def test_every_family_sees_both_ways_after_saving_and_keeps_its_vectors(tmp_path, family):
    make_tiny_decoder(tmp_path / "decoder", family)
    before = SentenceTransformer(str(tmp_path / "decoder"), device="cpu")
    model = base(tmp_path / "run", tmp_path / "decoder")
    for attention in ["eager"] if family == "gemma2" else ["eager", "sdpa"]:
        model[0].model.set_attn_implementation(attention)
        before[0].model.set_attn_implementation(attention)
        for padded in (False, True):
            assert moved(model, 11, 12, padded) > 1e-4
            assert moved(before, 11, 12, padded) == 0
    built = build_student(make_student_recipe(tmp_path / "decoder").student, seed=13)
    built[0].model.set_attn_implementation(attention)
    assert np.allclose(built.encode(TEXTS), model.encode(TEXTS), atol=1e-6)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_window_stays_and_reaches_to_both_sides(tmp_path, attention):
    make_tiny_decoder(tmp_path / "decoder", "mistral", sliding_window=4)
    model = base(tmp_path / "run", tmp_path / "decoder")
    model[0].model.set_attn_implementation(attention)
    assert moved(model, 3, 20, padded=False) > 1e-4
    assert moved(model, 19, 20, padded=False) == 0  # further than two layers' windows


def test_padding_on_either_side_gives_the_same_vectors(tmp_path):
    for family in DECODERS:
        make_tiny_decoder(tmp_path / family, family)
        model = build_student(make_student_recipe(tmp_path / family).student, seed=1)
        right = model.encode(TEXTS)
        model.tokenizer.padding_side = "left"
        assert np.allclose(model.encode(TEXTS), right, atol=1e-5), family
        alone = np.concatenate([model.encode([text]) for text in TEXTS])
        assert np.allclose(alone, right, atol=1e-5), family


def test_causal_stays_causal(tmp_path):
    make_tiny_decoder(tmp_path / "decoder")
    model = base(tmp_path / "run", tmp_path / "decoder", attention="causal", pooling="last")
    assert not can_see_later_tokens(model[0], model.tokenizer, padded=False)
    assert not can_see_later_tokens(model[0], model.tokenizer, padded=True)


def test_encoder_cannot_be_causal(tmp_path, encoder_folder):
    with pytest.raises(UserError, match="do see those behind"):
        base(tmp_path / "run", encoder_folder, attention="causal", pooling="last")
    assert not (tmp_path / "run" / "base" / "config.json").exists()


@pytest.mark.bad_input("models", "a decoder that stays causal", "refused")
def test_decoder_that_stays_causal_is_refused(tmp_path, monkeypatch):
    """As with a transformers that does not know `is_causal`, or a family that does not heed it."""
    make_tiny_decoder(tmp_path / "decoder")
    encoder = load_encoder(str(tmp_path / "decoder"))
    plain = encoder[0].model.forward
    encoder[0].model.forward = lambda **features: plain(**features | {"is_causal": True})
    monkeypatch.setattr("distill.student.build.load_encoder", lambda reference: encoder)
    with pytest.raises(UserError, match=r"without padding under eager attention .* do not see"):
        base(tmp_path / "run", tmp_path / "decoder")


def test_layers_of_a_decoder_can_be_chosen(tmp_path):
    make_tiny_decoder(tmp_path / "decoder", "gemma3_text")
    model = base(tmp_path / "run", tmp_path / "decoder", layers=[1])
    assert len(model[0].model.layers) == 1
    assert model[0].model.config.layer_types == ["full_attention"]


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_bfloat16_gives_near_vectors(tmp_path, family):
    make_tiny_decoder(tmp_path / "decoder", family, initializer_range=0.05)
    model = base(tmp_path / "run", tmp_path / "decoder")
    exact = model.encode(TEXTS)
    rough = model.bfloat16().encode(TEXTS, convert_to_tensor=True).float().numpy()
    assert (exact * rough).sum(axis=1).min() > 0.99


def test_gradients_are_the_same_when_layers_are_computed_again(tmp_path):
    make_tiny_decoder(tmp_path / "decoder")
    model = base(tmp_path / "run", tmp_path / "decoder").train()
    gradients = []
    for again in (False, True):
        if again:
            model[0].model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        features = model.preprocess(TEXTS[:1])  # nothing padded: no mask, the kernel's flag alone
        model(features)["sentence_embedding"].sum().backward()
        gradients.append([w.grad.clone() for w in model.parameters() if w.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(*gradients, strict=True))


@pytest.mark.slow
def test_smollm2_from_gguf_becomes_a_bidirectional_folder(tmp_path):
    model = base(tmp_path / "run", SMOLLM2, layers=[0, 1, 2, 3])
    assert model[0].model.config.is_causal is False
    assert can_see_later_tokens(model[0], model.tokenizer, padded=False)
    assert list((tmp_path / "run" / "base").glob("*.safetensors"))
    assert model.encode(["What a heart does."]).shape == (1, 576)
