"""A model's files: written beside, then moved into a stage's folder."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sentence_transformers import CrossEncoder, SentenceTransformer

from distill.files.atomic import flush_folder, name_full_disk
from distill.store.stage import Stage

_LAST = ("config.json", "adapter_config.json", "router_config.json")
_PROBE = ["A sentence to compare two models by.", "Another one, a little longer than the first."]


def save_beside(stage: Stage, model: SentenceTransformer | CrossEncoder) -> Path:
    """Save the model where nobody takes it for finished."""
    with _open_part(stage) as part:
        model.save_pretrained(str(part), create_model_card=False)
    return part


def copy_beside(stage: Stage, model: Path) -> Path:
    """Copy the model of another stage's folder to where nobody takes it for finished."""
    with _open_part(stage) as part:
        shutil.copytree(model, part, ignore=shutil.ignore_patterns(".stage"))
    return part


@contextmanager
def _open_part(stage: Stage) -> Iterator[Path]:
    """Give the path of a folder that is not there, and flush it to disk when it was written."""
    # Not `open_atomic_folder`: the stage's folder, into which the files move, stands already.
    part = stage.metadata_dir / "model.part"
    shutil.rmtree(part, ignore_errors=True)
    with name_full_disk(part):
        yield part
        flush_folder(part)


def has_same_vectors(model: SentenceTransformer, reloaded: SentenceTransformer) -> bool:
    """Return whether a model came back from disk as what it was; both on the same device."""
    before, after = (m.encode(_PROBE, show_progress_bar=False) for m in (model, reloaded))
    return np.allclose(before, after, atol=1e-4)


def move_into_place(stage: Stage, part: Path) -> None:
    """Rename entry after entry; the configuration, without which no encoder loads, goes last."""
    for path in sorted(part.iterdir(), key=lambda p: (p.name in _LAST, p.name)):
        target = stage.folder / path.name
        if target.is_dir():  # left by a run that was killed right here
            shutil.rmtree(target)
        os.replace(path, target)
    part.rmdir()
