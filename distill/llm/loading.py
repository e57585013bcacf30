"""A causal language model and its tokenizer from local files: safetensors or GGUF."""

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from distill.errors import UserError


def load_causal_lm(
    path: Path, dtype: torch.dtype, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in `dtype` on `device`, in evaluation mode, and its tokenizer.

    `path` is a folder, or a GGUF file, whose weights become an ordinary dense model.

    Raises:
        UserError: if `path` holds no causal language model.
    """
    folder, options = path, {}
    if path.suffix == ".gguf":
        folder, options = path.parent, {"gguf_file": path.name}
    quantization = {"quantization_config": GgufConfig(dequantize=True)} if options else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            trust_remote_code=False,
            use_safetensors=True,
            **options,
            **quantization,
        )
    except (OSError, ValueError, KeyError) as fault:
        raise UserError(
            str(path),
            f"is not a causal language model that transformers can load: {fault}",
            "name a folder with config.json and safetensors, or a .gguf file",
        ) from fault
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    module: torch.nn.Module = model.eval()
    module.to(device)
    return model, tokenizer
