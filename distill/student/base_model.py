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

from distill.errors import UserError, quote_fault
from distill.models.attention_check import find_remote_class
from distill.models.causal_lm import make_model_folder
from distill.models.remote_code import find_needed_code
from distill.models.sentence_transformer import (
    find_transformer_folder,
    has_vocabulary,
    load_sentence_model,
    refuse_missing_weights,
)

_SAFE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_WEIGHTS: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}


def read_config(reference: str) -> PretrainedConfig:
    """Read an encoder's configuration, without its weights.

    Raises:
        UserError: if there is none, or none of a model with layers.
    """
    folder = make_model_folder(reference, torch.float32)
    try:
        config = AutoConfig.from_pretrained(find_transformer_folder(folder), **_SAFE)
        text: PretrainedConfig = config.get_text_config()
        int(text.num_hidden_layers)
    except (OSError, ValueError, AttributeError) as fault:
        raise _explain_refusal(reference, folder, fault) from fault
    return text


def load_encoder(reference: str) -> SentenceTransformer:
    """Load what a student is made from, whole, its first module a transformer: weights in float32,
    on the CPU; a decoder without the head that predicts tokens.

    Raises:
        UserError: if it cannot be read, or was trained with code of its own that is not run.
    """
    path = make_model_folder(reference, torch.float32)
    try:
        loaded = load_sentence_model(path, "cpu", model_kwargs={"dtype": torch.float32})
    except Exception as fault:  # libraries raise anything for a damaged file
        raise _explain_refusal(reference, path, fault) from fault
    if not isinstance(loaded[0], Transformer):
        raise _explain_no_encoder(reference, type(loaded[0]).__name__)
    transformer = loaded[0]
    try:
        refuse_missing_weights(transformer, path)
    except ValueError as fault:
        raise _explain_no_encoder(reference, fault) from fault
    if not has_vocabulary(get_text_tokenizer(transformer)):
        raise _explain_no_encoder(reference, "its folder has no tokenizer")
    remote = find_remote_class(getattr(transformer.config, "auto_map", None))
    native = type(transformer.model).__name__
    if remote and remote.rpartition(".")[2] != native:
        raise _explain_no_encoder(
            reference, f"it needs code of its own, {remote}, which is never run"
        )
    return loaded


def reload_transformer(folder: Path) -> Transformer:
    """Load a transformer that `Transformer.save` or `save_pretrained` wrote."""
    return Transformer.load(str(folder), model_kwargs=dict(_WEIGHTS), **_SAFE)


def get_first_transformer(model: SentenceTransformer) -> Transformer:
    """Return the module that reads tokens."""
    first = model[0]
    if not isinstance(first, Transformer):
        raise TypeError(f"a {type(first).__name__} is no transformer")
    return first


def get_text_tokenizer(transformer: Transformer) -> PreTrainedTokenizerBase:
    """Return the model's tokenizer, which only a model of other things than texts does without."""
    if transformer.tokenizer is None:
        raise _explain_no_encoder(type(transformer.model).__name__, "it has no tokenizer")
    return transformer.tokenizer


def _explain_refusal(reference: str, folder: Path, fault: Exception) -> UserError:
    """Explain what a library's fault means for a person."""
    if code := find_needed_code(find_transformer_folder(folder), fault):
        return UserError(
            f"student.encoder {reference!r}", code, "name an encoder that transformers knows itself"
        )
    return _explain_no_encoder(reference, quote_fault(fault))


def _explain_no_encoder(reference: str, fault: object) -> UserError:
    return UserError(
        f"student.encoder {reference!r}",
        f"is not a text encoder with layers, in safetensors ({fault})",
        "name a BERT-like encoder, a decoder, or a sentence-transformers model made of one",
    )
