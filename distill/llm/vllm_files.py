"""A model reference -> a folder that vLLM loads: GGUF files are converted once and kept."""

import hashlib
import os
import shutil
from pathlib import Path

import torch
from filelock import FileLock

from distill.models import cache_folder, resolve, revision


def model_folder(reference: str, dtype: torch.dtype) -> Path:
    """The folder with config, tokenizer and safetensors. What a GGUF file holds is written as such
    into the cache, in `dtype`: vLLM itself reads no GGUF.

    Raises:
        UserError: if the reference cannot be had, or the GGUF file holds no causal model.
    """
    path = resolve(reference)
    if path.suffix != ".gguf":
        return path
    key = hashlib.sha256(f"{revision(reference)} {path.name} {dtype}".encode()).hexdigest()[:32]
    target = cache_folder() / "safetensors" / key
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            _convert(path, target, dtype)
    return target


def _convert(path: Path, target: Path, dtype: torch.dtype) -> None:
    """Written beside and renamed, so that a folder which is there is whole."""
    from distill.llm.loading import load_causal_lm

    beside = target.with_suffix(".part")
    shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
    model, tokenizer = load_causal_lm(path, dtype, "cpu")
    model.save_pretrained(beside)
    tokenizer.save_pretrained(beside)
    os.replace(beside, target)
