"""A sentence-transformers folder -> a model, running no code that came with the folder."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from distill.student.latent_attention import LatentAttention

_OURS = {f"{LatentAttention.__module__}.{LatentAttention.__qualname__}": LatentAttention}


def load_sentence_model(
    folder: Path, device: str | None = None, **options: Any
) -> SentenceTransformer:
    """`SentenceTransformer(folder)`, which also knows distill's one module, latent attention.

    The library itself imports a class of another package only where all code is trusted; here the
    class is the installed one, and a folder that names any other is refused.

    Raises:
        OSError, ValueError: if it is no such folder.
    """
    return SentenceTransformer._load_with_module_classes(
        str(folder),
        _OURS,
        device=device,
        local_files_only=True,
        trust_remote_code=False,
        **options,
    )
