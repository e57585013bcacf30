"""A recipe's dropout holds for encoders and decoders, not for a LoRA, and not afterwards."""

import pytest
import torch
from helpers.student_bases import make_base
from helpers.tiny_architectures import make_tiny_decoder
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer

from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import Lora
from distill.student.lora import add_lora
from distill.train.loop.model_overrides import override_dropout


def vectors(model: SentenceTransformer) -> torch.Tensor:
    """In training, where dropout draws anew each time."""
    model.train()
    return model(model.preprocess(TEXTS))["sentence_embedding"].detach()


def test_encoder_in_training_without_dropout_gives_the_same_twice(encoder_folder):
    model = SentenceTransformer(str(encoder_folder), device="cpu")
    assert not torch.equal(vectors(model), vectors(model))
    with override_dropout(model, 0.0):
        assert torch.equal(vectors(model), vectors(model))
    assert not torch.equal(vectors(model), vectors(model))
    with override_dropout(model, None):
        assert not torch.equal(vectors(model), vectors(model))


def test_decoder_has_none_until_it_is_asked_for(tmp_path):
    base = make_base(tmp_path / "run", make_tiny_decoder(tmp_path / "llama"))
    model = load_sentence_model(base.folder, "cpu")
    assert torch.equal(vectors(model), vectors(model))
    with override_dropout(model, 0.5):
        assert not torch.equal(vectors(model), vectors(model))
    assert torch.equal(vectors(model), vectors(model))


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_lora_keeps_its_own(encoder_folder, rate):
    model = SentenceTransformer(str(encoder_folder), device="cpu")
    add_lora(model, Lora(rank=2, dropout=0.25), seed=1)
    with override_dropout(model, rate):
        rates = {
            path: module.p
            for path, module in model.named_modules()
            if isinstance(module, torch.nn.Dropout)
        }
    of_lora = {p for path, p in rates.items() if "lora_" in path}
    assert of_lora == {0.25}
    assert {p for path, p in rates.items() if "lora_" not in path} == {rate}
