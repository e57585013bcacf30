"""An encoder that is to see both ways and does not is refused; every other one is taken."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from distill.embed.open_embedder import load_encoder
from distill.errors import UserError
from distill.models.attention_check import check_bidirectional
from distill.recipe import EmbedderConfig


@pytest.fixture
def saved(llm_folder, tmp_path):
    """The tiny Llama as a sentence encoder, with these settings in its configuration."""

    def save(**config: object) -> str:
        transformer = Transformer(str(llm_folder), max_seq_length=64)
        for name, value in config.items():
            setattr(transformer.model.config, name, value)
        modules = [transformer, Pooling(32, pooling_mode="mean"), Normalize()]
        SentenceTransformer(modules=modules).save_pretrained(str(tmp_path))
        return str(tmp_path)

    return save


@pytest.mark.parametrize(
    ("config", "declared"),
    [
        ({}, None),
        ({}, False),
        ({"is_causal": False}, None),
        ({"is_causal": False}, True),
        # A decoder is made so.
        ({}, True),
        ({"use_bidirectional_attention": True}, True),
        ({"use_bidirectional_attention": True}, False),
    ],
)
def test_model_whose_attention_is_as_declared_is_loaded(saved, config, declared):
    load_encoder(
        saved(**config), EmbedderConfig(max_tokens=32, device="cpu", bidirectional=declared)
    )


@pytest.mark.bad_input("models", "declared bidirectional, and causal", "refused")
@pytest.mark.parametrize(
    ("config", "declared"),
    [
        # Llama knows no such setting, and stays causal.
        ({"use_bidirectional_attention": True}, None),
        ({"use_bidirectional_attention": "all"}, None),
    ],
)
def test_model_declared_bidirectional_that_runs_causally_is_refused(saved, config, declared):
    with pytest.raises(UserError, match=r"without padding .* runs causally") as caught:
        load_encoder(
            saved(**config), EmbedderConfig(max_tokens=32, device="cpu", bidirectional=declared)
        )
    assert "is_causal" in caught.value.remedy


@pytest.mark.bad_input("models", "a conversion that the mask alone makes", "refused")
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_conversion_by_the_mask_alone_is_refused(saved, attention):
    """llm2vec, issue 74: with padding it sees both ways, without padding it does not."""
    model = SentenceTransformer(
        saved(), device="cpu", model_kwargs={"attn_implementation": attention}
    )
    llama = model[0].model
    plain = llama.forward

    def converted(input_ids, attention_mask, **rest):
        if not attention_mask.all():
            lowest = torch.finfo(torch.float32).min
            attention_mask = (1 - attention_mask[:, None, None, :].float()) * lowest
            attention_mask = attention_mask.expand(-1, 1, input_ids.shape[1], -1)
        return plain(input_ids=input_ids, attention_mask=attention_mask, **rest)

    llama.forward = converted
    with pytest.raises(UserError, match="without padding"):
        check_bidirectional(model, "converted", True)


def test_model_that_is_causal_in_a_padded_batch_alone_is_refused(saved):
    model = SentenceTransformer(saved(is_causal=False), device="cpu")
    llama = model[0].model
    plain = llama.forward

    def forgets(input_ids, attention_mask, **rest):
        llama.config.is_causal = not attention_mask.all()
        return plain(input_ids=input_ids, attention_mask=attention_mask, **rest)

    llama.forward = forgets
    with pytest.raises(UserError, match="with padding"):
        check_bidirectional(model, "forgets", True)


def test_encoder_by_type_is_tried_and_taken(encoder_folder, monkeypatch):
    model = SentenceTransformer(str(encoder_folder), device="cpu")
    check_bidirectional(model, "bert")
    bert = model[0].model
    plain = bert.forward

    def causal(input_ids, attention_mask, **rest):
        ones = torch.ones(input_ids.shape[1], input_ids.shape[1])
        mask = attention_mask[:, None, None, :] * torch.tril(ones)
        return plain(input_ids=input_ids, attention_mask=(1 - mask) * -1e9, **rest)

    bert.forward = causal
    with pytest.raises(UserError, match="runs causally"):
        check_bidirectional(model, "bert")
