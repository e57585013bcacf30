"""The transformer that a student is made from: a folder's encoder or decoder, or a GGUF decoder."""

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from transformers import (
    AutoConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from distill.errors import UserError
from distill.run import read_json
from distill.safetensors_folder import model_folder

_SAFE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_WEIGHTS: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}


def read_config(reference: str) -> PretrainedConfig:
    """An encoder's configuration, without its weights.

    Raises:
        UserError: if there is none, or none of a model with layers.
    """
    folder = model_folder(reference, torch.float32)
    try:
        modules = folder / "modules.json"
        first = read_json(modules)[0]["path"] if modules.exists() else ""
        config = AutoConfig.from_pretrained(folder / first, **_SAFE)
        text: PretrainedConfig = config.get_text_config()
        int(text.num_hidden_layers)
    except (OSError, ValueError, AttributeError) as fault:
        raise _no_encoder(reference, fault) from fault
    return text


def load_transformer(reference: str) -> Transformer:
    """Weights in float32, on the CPU; a decoder without the head that predicts tokens.

    Raises:
        UserError: if it cannot be read.
    """
    path = model_folder(reference, torch.float32)
    try:
        loaded = SentenceTransformer(str(path), device="cpu", model_kwargs=dict(_WEIGHTS), **_SAFE)
    except (OSError, ValueError, KeyError) as fault:
        raise _no_encoder(reference, fault) from fault
    if not isinstance(loaded[0], Transformer):
        raise _no_encoder(reference, type(loaded[0]).__name__)
    return loaded[0]


def reload_transformer(folder: Path) -> Transformer:
    """One that `Transformer.save` or `save_pretrained` wrote."""
    return Transformer.load(str(folder), model_kwargs=dict(_WEIGHTS), **_SAFE)


def first_transformer(model: SentenceTransformer) -> Transformer:
    """The module that reads tokens."""
    first = model[0]
    if not isinstance(first, Transformer):
        raise TypeError(f"a {type(first).__name__} is no transformer")
    return first


def text_tokenizer(transformer: Transformer) -> PreTrainedTokenizerBase:
    """Its tokenizer, which only a model of other things than texts does without."""
    if transformer.tokenizer is None:
        raise _no_encoder(type(transformer.model).__name__, "it has no tokenizer")
    return transformer.tokenizer


def _no_encoder(reference: str, fault: object) -> UserError:
    return UserError(
        f"student.encoder {reference!r}",
        f"is not a text encoder with layers, in safetensors ({fault})",
        "name a BERT-like encoder, a decoder, or a sentence-transformers model made of one",
    )
