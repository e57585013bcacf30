"""The chunks of a store of vectors: each is committed by its checksum, so that damaged ones, and
those that are missing, are known."""

import hashlib
import logging
import os
from pathlib import Path

import numpy as np

from distill.embed.encoder import Vectors

_LOG = logging.getLogger(__name__)
_CHECKSUMS = "checksums.txt"
_verified: set[Path] = set()
"""Files of checksums that this process has compared."""


def list_damaged_chunks(folder: Path, done: int, size: int) -> list[int]:
    """List the first rows of the chunks, of `size` rows each, whose bytes are not those that were
    written. Compared once a process. In stores of earlier versions, without checksums, rows must be
    finite and not zero."""
    path = folder / _CHECKSUMS
    if path in _verified:
        return []
    vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    starts = range(0, done, size)
    recorded = _read_recorded(path)
    damaged = []
    for number, start in enumerate(starts):
        rows = vectors[start : min(start + size, done)]
        if number in recorded:
            whole = _hash_chunk(rows) == recorded[number]
        else:
            whole = bool(np.isfinite(rows).all() and rows.any(axis=1).all())
            if whole:
                record_chunk(folder, number, rows)
        if not whole:
            damaged.append(start)
    for start in damaged:
        _LOG.warning(
            "%s: vectors %d to %d are damaged: they are computed again",
            folder / "vectors.npy",
            start,
            min(start + size, done) - 1,
        )
    if not damaged:  # else once they are computed again
        _verified.add(path)
    return damaged


def list_missing_chunks(folder: Path, done: int, total: int, size: int) -> list[int]:
    """List the first rows of the chunks, of `size` rows each, beyond the count of rows that no
    worker has committed."""
    starts, recorded = range(done, total, size), _read_recorded(folder / _CHECKSUMS)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    return [
        start
        for start in starts
        if start // size not in recorded
        or _hash_chunk(vectors[start : start + size]) != recorded[start // size]
    ]


def _hash_chunk(rows: Vectors) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()


def _read_recorded(path: Path) -> dict[int, str]:
    """Read the checksums by chunk number; damaged ones are left out."""
    data = path.read_bytes() if path.exists() else b""
    lines = (data[start : start + 64] for start in range(0, len(data), 65))
    return {
        number: line.decode("ascii", "replace")
        for number, line in enumerate(lines)
        if line.strip(b"\0")
    }


def record_chunk(folder: Path, number: int, rows: Vectors) -> None:
    """Write the checksum of the chunk with this number in its place: one line of 64 digits for each
    chunk."""
    path = folder / _CHECKSUMS
    path.touch()
    with path.open("r+b") as file:
        file.seek(number * 65)
        file.write(f"{_hash_chunk(rows)}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def note_verified_chunks(folder: Path) -> None:
    """Note that this process has written or compared all chunks of a store."""
    _verified.add(folder / _CHECKSUMS)
