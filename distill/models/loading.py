"""Load a causal language model and its tokenizer from local files: safetensors or GGUF."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from distill.errors import UserError, quote_fault
from distill.models.remote_code import find_needed_code
from distill.runtime.out_of_memory import is_out_of_memory, name_too_large

_MOST_NAMES = 5


def load_causal_lm(
    folder: Path, dtype: torch.dtype, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the folder's model in `dtype` on `device`, in evaluation mode, and its tokenizer.

    Raises:
        UserError: if it holds no causal language model.
    """
    model, tokenizer = _load(folder, folder, dtype)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    module: torch.nn.Module = model.eval()
    with name_too_large(f"model {str(folder)!r}"):
        module.to(device)
    return model, tokenizer


def load_gguf(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the file's weights as an ordinary dense model in `dtype` on the CPU, and its tokenizer.

    Raises:
        UserError: if it holds no causal language model.
    """
    dense = GgufConfig(dequantize=True)
    return _load(path, path.parent, dtype, {"gguf_file": path.name}, quantization_config=dense)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the folder's tokenizer alone.

    Raises:
        UserError: if it holds none.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False
        )
        return tokenizer
    except (OSError, ValueError, KeyError) as fault:
        raise UserError(
            str(folder),
            find_needed_code(folder, fault)
            or f"has no tokenizer that transformers can load: {quote_fault(fault)}",
            "name a folder with config.json, a tokenizer and safetensors, or a .gguf file",
        ) from fault


def _load(
    path: Path,
    folder: Path,
    dtype: torch.dtype,
    of_both: dict[str, Any] | None = None,
    **of_model: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    both: dict[str, Any] = {"trust_remote_code": False, **(of_both or {})}
    model: Any
    loaded: dict[str, Any]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **both)
        load: Any = AutoModelForCausalLM.from_pretrained
        model, loaded = load(
            folder,
            output_loading_info=True,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            **both,
            **of_model,
        )
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError) as fault:
        if is_out_of_memory(fault):
            raise
        raise UserError(
            str(path),
            find_needed_code(folder, fault)
            or f"is not a causal language model that transformers can load: {quote_fault(fault)}",
            "name a folder with config.json and safetensors, or a .gguf file",
        ) from fault
    _refuse_missing(path, sorted(loaded["missing_keys"]))
    return model, tokenizer


def _refuse_missing(path: Path, names: list[str]) -> None:
    """Refuse missing weights: transformers would initialise them at random."""
    if not names:
        return
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    raise UserError(
        str(path),
        f"lacks weights, which would be random: {', '.join(names[:_MOST_NAMES])}{more}",
        "fetch or copy the model again; all files that its index names are needed",
    )
