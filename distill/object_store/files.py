"""Which files of a run's folder are copied to a store."""

import os
from collections.abc import Iterator
from pathlib import Path

from distill.object_store.record import FOLDER

_PASSING = (".part", ".new", ".lock", ".sqlite", ".sqlite-wal", ".sqlite-shm")
"""Ends of names. Of SQLite files snapshots are copied."""
_LEFT_OUT = {"superseded", "damaged", "model.part", FOLDER}
_MADE_ANEW = "lookup-"
"""Begins the names of the memory-mapped copies of passages."""


def list_files(folder: Path, finished: bool = False) -> Iterator[Path]:
    """List the files below a stage's folder, but for its manifest, or below a folder in one.

    Args:
        finished: without what only its training needed.
    """
    for path in _walk(folder, {*_LEFT_OUT, "training"} if finished else _LEFT_OUT):
        if path != folder / ".stage" / "manifest.json":
            yield path


def list_loose_files(run: Path) -> Iterator[Path]:
    """List the files of a run's folder that are in no stage."""
    yield from _walk(run, _LEFT_OUT, into_stages=False)


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
            if not _is_passing(name) and not path.is_symlink():
                yield path


def _is_passing(name: str) -> bool:
    return name.endswith(_PASSING)
