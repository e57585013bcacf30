"""The code on a model's card gives the model's vectors, whatever its architecture and padding."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_architectures import make_tiny_decoder
from helpers.tiny_models import make_wordpiece_tokenizer
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from distill.export.export import export_model


def save_model(folder: Path, transformer: Path, pooling: str) -> Path:
    modules = [Transformer(str(transformer)), Pooling(32, pooling), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


def make_tiny_t5(folder: Path) -> Path:
    torch.manual_seed(0)
    tokenizer = make_wordpiece_tokenizer()
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    config = T5Config(vocab_size=len(tokenizer), pad_token_id=0, **sizes)
    T5EncoderModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def compare_snippets(model: Path, folder: Path) -> None:
    """Run the card's two snippets, and compare what they compute of passages of two lengths."""
    export_model(str(model), folder, ["sentence-transformers"])
    found: list[dict] = []
    for snippet in re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S):
        found.append({})
        exec(snippet, found[-1])
    ours, plain = found
    np.testing.assert_allclose(plain["passages"], ours["passages"], atol=1e-5)


@pytest.mark.parametrize("pooling", ["lasttoken", "cls", "mean"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_transformers_snippet_heeds_the_side_of_padding(tmp_path, monkeypatch, side, pooling):
    decoder = make_tiny_decoder(tmp_path / "decoder", "qwen3")
    AutoTokenizer.from_pretrained(
        decoder, padding_side=side, pad_token="<|endoftext|>"
    ).save_pretrained(decoder)
    model = save_model(tmp_path / "model", decoder, pooling)
    monkeypatch.chdir(tmp_path)
    compare_snippets(model, tmp_path / "out")


def test_transformers_snippet_opens_the_encoder_of_t5_alone(tmp_path, monkeypatch):
    model = save_model(tmp_path / "model", make_tiny_t5(tmp_path / "t5"), "mean")
    monkeypatch.chdir(tmp_path)
    compare_snippets(model, tmp_path / "out")
