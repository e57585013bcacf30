"""A language model as a folder of safetensors: a GGUF file is converted once and kept. Reading one
takes some twenty seconds for 135M parameters, the folder a second, and a killed run or the
next command reads it again; vLLM and sentence-transformers read no GGUF at all."""

import hashlib
import shutil
from pathlib import Path

import torch

from distill.errors import UserError
from distill.files.atomic import open_atomic_folder
from distill.files.checksums import discard_if_damaged, write_checksums
from distill.models.reference import identify_revision, resolve
from distill.models.sources.cache import get_cache_folder, lock_cache


def make_model_folder(reference: str, dtype: torch.dtype) -> Path:
    """Return a folder with config, tokenizer and safetensors. A GGUF file is converted to such a
    folder in the cache, in `dtype`, of two or four bytes a parameter. What a GGUF file holds is
    written as such into the cache, in `dtype`, of two or four bytes a parameter.

    Raises:
        UserError: if the reference is not available, the GGUF file holds no causal model, or the
            cache has no room or cannot be written.
    """
    path = resolve(reference)
    if path.suffix != ".gguf":
        return path
    key = hashlib.sha256(
        f"{identify_revision(reference)} {path.name} {dtype}".encode()
    ).hexdigest()[:32]
    target = get_cache_folder() / "safetensors" / key
    discard_if_damaged(target)
    if target.exists():  # in a cache that may only be read, too
        return target
    with lock_cache(key):
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            with open_atomic_folder(target) as beside:
                _convert(path, beside, dtype)
    return target


def _convert(path: Path, target: Path, dtype: torch.dtype) -> None:
    """Write a GGUF file's weights and tokenizer as transformers does."""
    from distill.models.loading import load_gguf

    model, tokenizer = load_gguf(path, dtype)
    need = sum(weight.nbytes for weight in model.parameters())
    if need > shutil.disk_usage(target.parent).free:
        raise UserError(
            str(target.parent),
            f"has no room for the weights of {path.name}: {need / 1e9:.1f} GB",
            "free some, or set DISTILL_CACHE to a folder on a larger disk",
        )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    write_checksums(target)
