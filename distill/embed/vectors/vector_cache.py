"""A model's vectors on disk, each text's once: across tasks, across runs of one folder, and over a
kill in the middle of a corpus.

mteb's own cache has a folder for each task, keeps all in memory and writes its index when a whole
corpus is done; `vector_store` is addressed by a list of texts, not by one. Hence
three files that only grow: `vectors.bin`, rows of float32, `sums.bin`, a checksum of each row and
its digest, and `digests.bin`, 64 bits of each row's text. A row is there once its digest is, which
is written last; what a kill left beyond that is cut off before the next row is added.

Rows are compared with their checksums once, when a process first sees them. One that differs is
given up, for good, and its text is encoded again.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from distill.embed.encoder import Vectors
from distill.files.atomic import explain_os_error, write_json
from distill.store.stage import fingerprint

Digests = NDArray[np.uint64]

_NO_SUM = 0
"""Marks a row that was added before there were checksums."""
_DAMAGED = 2**64 - 1
_ROWS_AT_ONCE = 4096
_log = logging.getLogger(__name__)


class VectorCache:
    """The vectors of one model under one prompt. In memory are 16 bytes a text: its digest and its
    row.

    Several objects and processes may share a folder: rows are added under a lock, and each sees
    what the others have added. (Among ten million texts two share a digest with a chance of three
    in a million.)

    Args:
        identity: everything beside the text that changes its vector; names the folder.
    """

    def __init__(self, root: Path, identity: Mapping[str, str | int], dimensions: int) -> None:
        self.folder = root / fingerprint("vectors", identity, {})
        self.dimensions = dimensions
        self._row_bytes = 4 * dimensions
        self._digests: Digests = np.empty(0, np.uint64)
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)
        self._seen = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / ".lock")
        if not (self.folder / "encoder.json").exists():
            write_json(self.folder / "encoder.json", {**identity, "dimensions": dimensions})
        self._refresh()

    def __len__(self) -> int:
        return len(self._digests)

    def find_absent(self, digests: Digests) -> NDArray[np.int64]:
        """Return the places in `digests` of those that have no row yet, each once, in order."""
        self._refresh()
        _, first = np.unique(digests, return_index=True)
        first.sort()
        return first[~self._has_rows(digests[first])]

    def add(self, digests: Digests, vectors: Vectors) -> None:
        """Commit a block of rows: (n,) digests, each once, and (n, dimensions) vectors.

        Raises:
            UserError: if the disk is full or refuses them.
        """
        with self._lock:
            rows, stored = self._count_whole_rows(), vectors.astype("<f4")
            self._append("vectors.bin", rows * self._row_bytes, stored.tobytes())
            sums = _hash_rows(digests, stored)
            self._append("sums.bin", rows * 8, sums.astype("<u8").tobytes())
            self._append("digests.bin", rows * 8, digests.astype("<u8").tobytes())
        self._refresh()

    def take(self, digests: Digests) -> Vectors:
        """Return the vectors of these digests, (n, dimensions): memory-mapped if the rows follow
        each other on disk, as those of a corpus do; changes to it stay in memory.

        Raises:
            KeyError: for a text that has no row.
        """
        if not self._has_rows(digests).all():
            raise KeyError("a text without a vector")
        rows = self._rows[np.searchsorted(self._digests, digests)]
        if not len(rows):
            return np.empty((0, self.dimensions), np.float32)
        stored = np.memmap(
            self.folder / "vectors.bin", "<f4", "c", shape=(self._seen, self.dimensions)
        ).view(np.ndarray)
        if np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
            return stored[rows[0] : rows[-1] + 1]
        return stored[rows]

    def _has_rows(self, digests: Digests) -> NDArray[np.bool_]:
        if not len(self._digests):
            return np.zeros(len(digests), bool)
        places = np.searchsorted(self._digests, digests)
        places[places == len(self._digests)] = 0
        return self._digests[places] == digests

    def _refresh(self) -> None:
        """Read the rows that were added since the last time, by any process."""
        rows = self._count_whole_rows()
        if rows == self._seen:
            return
        added = self._read_numbers("digests.bin", self._seen, rows)
        whole = np.flatnonzero(self._are_whole(added, self._seen))
        digests, first = np.unique(added[whole], return_index=True)
        new = ~self._has_rows(digests)
        digests, first = digests[new], whole[first[new]]
        places = np.searchsorted(self._digests, digests)
        self._digests = np.insert(self._digests, places, digests)
        self._rows = np.insert(self._rows, places, first + self._seen)
        self._seen = rows

    def _are_whole(self, digests: Digests, start: int) -> NDArray[np.bool_]:
        """Check which of the rows from `start` on have the bytes that were written."""
        whole = np.ones(len(digests), bool)
        before = self._read_numbers("sums.bin", start, start + len(digests))
        sums = before.copy()
        for first in range(0, len(digests), _ROWS_AT_ONCE):
            place = slice(first, min(first + _ROWS_AT_ONCE, len(digests)))
            vectors = self._read_vectors(start + place.start, start + place.stop)
            computed = _hash_rows(digests[place], vectors)
            unknown = sums[place] == _NO_SUM
            usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
            whole[place] = np.where(unknown, usable, sums[place] == computed)
            sums[place] = np.where(unknown & usable, computed, sums[place])
        damaged = ~whole & (sums != _DAMAGED)
        sums[damaged] = _DAMAGED
        if damaged.any():
            _log.warning(
                "%s: %d of its %d vectors are damaged, and are computed again",
                self.folder,
                damaged.sum(),
                len(digests),
            )
        if not np.array_equal(sums, before):
            self._note(start, sums)
        return whole

    def _note(self, start: int, sums: Digests) -> None:
        """Write the checksums of rows that had none, and mark damaged rows as unusable."""
        path = self.folder / "sums.bin"
        with self._lock, path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(8 * start)
            file.write(sums.astype("<u8").tobytes())
            file.flush()
            os.fsync(file.fileno())

    def _read_numbers(self, name: str, start: int, end: int) -> Digests:
        """Read the recorded numbers of rows; 0 for those beyond the end of the file."""
        sums = np.zeros(end - start, np.uint64)
        if self._measure_size(name) > 8 * start:
            read = np.fromfile(self.folder / name, "<u8", end - start, offset=8 * start)
            sums[: len(read)] = read
        return sums

    def _read_vectors(self, start: int, end: int) -> Vectors:
        file, count = self.folder / "vectors.bin", (end - start) * self.dimensions
        flat = np.fromfile(file, "<f4", count, offset=start * self._row_bytes)
        return flat.reshape(end - start, self.dimensions)

    def _count_whole_rows(self) -> int:
        return min(
            self._measure_size("digests.bin") // 8,
            self._measure_size("vectors.bin") // self._row_bytes,
        )

    def _measure_size(self, name: str) -> int:
        path = self.folder / name
        return path.stat().st_size if path.exists() else 0

    def _append(self, name: str, start: int, data: bytes) -> None:
        path = self.folder / name
        try:
            with path.open("ab") as file:
                file.truncate(start)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as fault:
            raise explain_os_error(fault, path, start + len(data)) from fault


def hash_texts(texts: Iterable[str]) -> Digests:
    """Hash each text to 64 bits."""
    each = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(each), "<u8").astype(np.uint64)


def _hash_rows(digests: Digests, vectors: Vectors) -> Digests:
    """Hash each row with its digest to 64 bits; never one of the two numbers that have another
    meaning."""
    hashes = b"".join(
        hashlib.blake2b(digest.tobytes() + vector.tobytes(), digest_size=8).digest()
        for digest, vector in zip(digests.astype("<u8"), vectors.astype("<f4"), strict=True)
    )
    return np.frombuffer(hashes, "<u8").astype(np.uint64).clip(1, _DAMAGED - 1)
