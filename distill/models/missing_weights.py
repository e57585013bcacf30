"""Find the weights that a model's files lack: transformers initialises them at random."""

from pathlib import Path
from typing import Any

from safetensors import safe_open
from sentence_transformers.sentence_transformer.modules import Transformer

_NOT_POOLED = "pooler."
"""BERT's own head, which many files leave out and no sentence embedding reads."""


def list_missing_weights(transformer: Transformer, folder: Path) -> list[str]:
    """List the transformer's weights that no file of its folder holds.

    Names are compared first; where one is not found as it stands, transformers is asked, which
    knows the old names of some.
    """
    if not any(folder.glob("*.safetensors")) or (folder / "adapter_config.json").exists():
        return []
    endings = _list_endings(folder)
    unlike = [name for name, _ in transformer.model.named_parameters() if name not in endings]
    if not _read_by_pooling(unlike):
        return []
    kind: Any = type(transformer.model)
    _, report = kind.from_pretrained(
        str(folder),
        output_loading_info=True,
        use_safetensors=True,
        local_files_only=True,
        dtype=transformer.model.dtype,
    )
    return _read_by_pooling(sorted(report["missing_keys"]))


def _read_by_pooling(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith(_NOT_POOLED)]


def _list_endings(folder: Path) -> set[str]:
    """List the weights' names in the files, each with every shorter form without its leading
    parts."""
    endings: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            for key in weights.keys():  # noqa: SIM118 (a file is no mapping)
                parts = key.split(".")
                endings.update(".".join(parts[start:]) for start in range(len(parts)))
    return endings
