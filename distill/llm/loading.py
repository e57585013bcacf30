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
from transformers.utils import logging as transformers_logging

from distill.errors import UserError

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_dtype(name: str, device: str) -> torch.dtype:
    """`auto` is bfloat16 where the device computes it natively: elsewhere it is slower than
    float32."""
    if name != "auto":
        return _DTYPES[name]
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.backends.cpu.get_cpu_capability() == "AVX512" and _bf16_instructions()
    return torch.bfloat16 if native else torch.float32


def _bf16_instructions() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def load_causal_lm(
    path: Path, dtype: torch.dtype, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in `dtype` on `device`, in evaluation mode, and its tokenizer.

    `path` is a folder, or a GGUF file, whose weights become an ordinary dense model.

    Raises:
        UserError: if `path` holds no causal language model.
    """
    transformers_logging.disable_progress_bar()
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
