"""Checksums of files, taken when they are written and compared before they are used: a disk may
lose bytes, a copy may end early, a person may delete a file."""

import hashlib
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.files.atomic import read_json, write_json

_LOG = logging.getLogger(__name__)
_compared: set[Path] = set()
CHECKSUMS_FILE = ".checksums.json"
"""In a folder: {name of a file in it: {"bytes": its length, "sha256": hex}}."""


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; the file is never whole in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_bytes(data: bytes) -> str:
    """SHA-256 in hex, the one that `digest_file` gives of a file with these bytes."""
    return hashlib.sha256(data).hexdigest()


def measure_file(path: Path) -> dict[str, Any]:
    """What is recorded of a file: `bytes` and `sha256`."""
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}


def find_damage(path: Path, recorded: Mapping[str, Any]) -> str | None:
    """How a file differs from what `measure_file` gave of it, in words that follow its name; None
    where it does not. A length that differs is found without reading the file."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != recorded["bytes"]:
        return f"has {size} bytes, {recorded['bytes']} were written"
    if digest_file(path) != recorded["sha256"]:
        return "holds other bytes than were written (its checksum differs)"
    return None


def find_damage_beside(path: Path, recorded: Path) -> str | None:
    """`find_damage` by what was recorded in a JSON file; a file whose record cannot be read counts
    as damaged."""
    try:
        return find_damage(path, read_json(recorded))
    except (OSError, UserError, KeyError, TypeError) as fault:
        return f"has a checksum that cannot be read ({fault})"


def write_checksums(folder: Path, names: Iterable[str] | None = None) -> None:
    """Record the files of a folder in its `.checksums.json`: all, hidden ones left out, or those
    named (relative to the folder)."""
    write_json(
        folder / CHECKSUMS_FILE,
        {name: measure_file(folder / name) for name in names or list_files(folder)},
    )


def find_damaged_files(folder: Path) -> dict[str, str]:
    """The recorded files of a folder that are missing or changed, each with what is wrong with it.

    Raises:
        UserError: if the folder has no checksums that can be read (see `has_checksums`).
    """
    path = folder / CHECKSUMS_FILE
    try:
        recorded = {
            str(name): {"bytes": int(one["bytes"]), "sha256": str(one["sha256"])}
            for name, one in read_json(path).items()
        }
    except (OSError, UserError, ValueError, TypeError, KeyError, AttributeError) as fault:
        raise UserError(
            str(path), f"cannot be read ({fault})", f"delete {folder} and run again"
        ) from fault
    damage = {name: find_damage(folder / name, one) for name, one in recorded.items()}
    return {name: what for name, what in damage.items() if what is not None}


def has_checksums(folder: Path) -> bool:
    """Folders made before checksums were taken have none."""
    return (folder / CHECKSUMS_FILE).is_file()


def discard_if_damaged(folder: Path) -> None:
    """Remove a folder of derived files, such as an index, where one is missing or changed, or
    their checksums cannot be read: whoever wants it makes it again. Compared once a process;
    folders without checksums are left."""
    if folder in _compared or not has_checksums(folder):
        return
    try:
        damaged = find_damaged_files(folder)
    except UserError as fault:
        damaged = {CHECKSUMS_FILE: fault.what}
    for name, what in damaged.items():
        _LOG.warning("%s %s: its folder is made again", folder / name, what)
    if damaged:
        shutil.rmtree(folder)
    else:
        _compared.add(folder)


def list_files(folder: Path) -> list[str]:
    """The files of a folder and of those in it, hidden ones left out, by name."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(f.as_posix() for f in files if not any(p.startswith(".") for p in f.parts))
