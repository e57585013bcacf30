"""The record of which file of a run's folder was copied as which object of its store."""

import json
import os
import threading
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from distill.errors import UserError
from distill.files.atomic import commit_bytes

FOLDER = ".store"
"""In the run's folder; it is not copied."""
COPY_MARK = "node-copy"
"""A file in it, where the folder is a node's copy of what workers read (see
`distill.workers.node_copy`)."""


class CopiedFile(NamedTuple):
    """A file as it was when it was copied, and the object's etag. Size and time are 0 for a
    snapshot, which is no copy of a file."""

    size: int
    modified: int
    etag: str


class CopyRecord:
    """A file of one line a copy: what was copied is not copied again, by no later process either.

    `run_id` names this folder, whichever machine has it mounted; a copy of it has another.
    """

    def __init__(self, run: Path) -> None:
        folder = run / FOLDER
        folder.mkdir(exist_ok=True)
        self._path = folder / "copied.jsonl"
        self._copies = _read(self._path)
        lines = "".join(_format_line(name, one) for name, one in self._copies.items())
        commit_bytes(self._path, lines.encode())  # without replaced lines
        self._lock = threading.Lock()
        identity = folder / "id"
        if not identity.exists():
            commit_bytes(identity, uuid4().hex.encode())
        self.run_id = f"{identity.read_text(encoding='utf-8')}-{identity.stat().st_ino}"

    def get(self, name: str) -> CopiedFile | None:
        """Return the last copy of a name."""
        return self._copies.get(name)

    def is_current(self, name: str, file: os.stat_result, etag: str | None) -> bool:
        """Return whether a file is still what was copied, and the object of this etag is the
        copy."""
        copy = self._copies.get(name)
        return etag is not None and copy == (file.st_size, file.st_mtime_ns, etag)

    def add(self, name: str, copy: CopiedFile) -> None:
        """Record a copy."""
        with self._lock:
            self._copies[name] = copy
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_format_line(name, copy))


def check_no_copy(run: Path) -> None:
    """Refuse to write a run into a node's copy of what workers read, without its store.

    Raises:
        UserError: with the remedy.
    """
    if (run / FOLDER / COPY_MARK).exists():
        raise UserError(
            str(run),
            "is a node's copy of a run, and lacks what workers do not read",
            "set the run's store, which has the rest, or move the folder away",
        )


def _format_line(name: str, copy: CopiedFile) -> str:
    return json.dumps([name, *copy]) + "\n"


def _read(path: Path) -> dict[str, CopiedFile]:
    """Read the record; a line that a killed process left half written says nothing."""
    copies: dict[str, CopiedFile] = {}
    if not path.exists():
        return copies
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            name, size, modified, etag = json.loads(line)
            copies[str(name)] = CopiedFile(int(size), int(modified), str(etag))
        except (ValueError, TypeError):
            continue
    return copies
