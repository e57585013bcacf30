"""Select the files of a run's folder that are copied to a store."""

import os
from collections.abc import Iterator
from pathlib import Path

from distill.object_store.record import FOLDER

_PASSING = (".part", ".new", ".lock", ".sqlite", ".sqlite-wal", ".sqlite-shm")
"""Ends of names. Of SQLite files snapshots are copied."""
GROWING = ".growing"
"""Ends the name of a mark beside a file that is written in place for hours, of which parts are
copied until it is whole."""
_TRAINING = "training"
"""In a stage's `.stage/`, while it trains."""
_LEFT_OUT = {"superseded", "damaged", "model.part", FOLDER}
_MADE_ANEW = "lookup-"
"""Begins the names of the memory-mapped copies of passages."""


def list_files(stage: Path) -> Iterator[Path]:
    """List the files of a stage, but for its manifest and what only its training needs."""
    for path in _walk(stage, {*_LEFT_OUT, _TRAINING}):
        if path != stage / ".stage" / "manifest.json":
            yield path


def list_training(stage: Path) -> list[Path]:
    """List the files of a stage's training, in an order in which a part of them can be resumed:
    weights that are kept, then checkpoints, whose markers (files without a suffix) come last."""
    files = _walk(stage / ".stage" / _TRAINING, {*_LEFT_OUT, "tokens"})

    def rank(path: Path) -> tuple[bool, bool, str]:
        of_checkpoint = any(part.startswith("checkpoint-") for part in path.parts)
        return of_checkpoint, not path.suffix, str(path)

    return sorted(files, key=rank)


def list_for_workers(stage: Path) -> list[Path]:
    """List the files that a stage under way has for its workers: searches, and copies of SQLite
    files that nobody writes to any more."""
    place = stage / ".stage"
    return [*sorted(place.glob("*-before.sqlite")), *sorted(place.glob("search/*/*.npz"))]


def list_loose_files(run: Path) -> Iterator[Path]:
    """List the files of a run's folder that are in no stage, but for hidden ones right in it."""
    for path in _walk(run, _LEFT_OUT, into_stages=False):
        if path.parent != run or not path.name.startswith("."):
            yield path


def _walk(folder: Path, left_out: set[str], into_stages: bool = True) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if ".stage" in folders and not into_stages:
            folders.clear()
            continue
        folders[:] = sorted(
            name
            for name in folders
            if name not in left_out and not name.startswith(_MADE_ANEW) and not _is_passing(name)
        )
        for name in sorted(names):
            path = Path(place, name)
            grows = name + GROWING in names
            if not _is_passing(name) and not grows and not path.is_symlink():
                yield path


def _is_passing(name: str) -> bool:
    return name.endswith((*_PASSING, GROWING))
