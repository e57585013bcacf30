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
    """Compute the SHA-256 of a file's bytes, in hex, without reading all of it into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_bytes(data: bytes) -> str:
    """Compute the SHA-256 of bytes, in hex, as `digest_file` does of a file."""
    return hashlib.sha256(data).hexdigest()


def measure_file(path: Path) -> dict[str, Any]:
    """Measure a file: `bytes`, its length, and `sha256`."""
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}


def find_damage(path: Path, recorded: Mapping[str, Any]) -> str | None:
    """Say how a file differs from its record by `measure_file`, in words that follow its name; None
    if it does not. A length that differs is found without reading the file."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != recorded["bytes"]:
        return f"has {size} bytes, {recorded['bytes']} were written"
    if digest_file(path) != recorded["sha256"]:
        return "holds other bytes than were written (its checksum differs)"
    return None


def find_damage_beside(path: Path, recorded: Path) -> str | None:
    """Say how a file differs from its record in a JSON file (see `find_damage`); without a readable
    record it counts as damaged."""
    try:
        return find_damage(path, read_json(recorded))
    except (OSError, UserError, KeyError, TypeError) as fault:
        return f"has a checksum that cannot be read ({fault})"


def write_checksums(folder: Path, names: Iterable[str] | None = None) -> None:
    """Record the files of a folder in its `.checksums.json`: all but hidden ones, or those of these
    names (relative to the folder)."""
    write_json(
        folder / CHECKSUMS_FILE,
        {name: measure_file(folder / name) for name in names or list_files(folder)},
    )


def find_damaged_files(folder: Path) -> dict[str, str]:
    """Find the recorded files of a folder that are missing or changed, each with what is wrong.

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
    """Return whether a folder has recorded checksums; older ones have none."""
    return (folder / CHECKSUMS_FILE).is_file()


def discard_if_damaged(folder: Path) -> None:
    """Remove a folder of derived files, such as an index, if one is missing or changed or the
    checksums cannot be read, so that the caller makes it again. A folder is compared once a
    process; without checksums it stays."""
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
    """List the files of a folder and its sub-folders by name, hidden ones left out."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(f.as_posix() for f in files if not any(p.startswith(".") for p in f.parts))
