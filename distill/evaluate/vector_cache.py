"""A model's vectors on disk, each text's once: across tasks, across runs of one folder, and over a
kill in the middle of a corpus.

mteb's own cache has a folder for each task, keeps all in memory and writes its index when a whole
corpus is done; `distill.retrieve.vectors` is addressed by a list of texts, not by one. Hence two
files that only grow: `vectors.bin`, rows of float32, and `digests.bin`, 64 bits of each row's text.
A row is there once its digest is, which is written last; what a kill left beyond that is cut off
before the next row is added.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from distill.retrieve.encoder import Vectors
from distill.run import fingerprint, write_json

Digests = NDArray[np.uint64]


class VectorCache:
    """Of one model under one prompt. In memory are 16 bytes a text: its digest and its row.

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

    def absent(self, digests: Digests) -> NDArray[np.int64]:
        """Where in `digests` those stand that have no row yet, each once, in their order."""
        self._refresh()
        _, first = np.unique(digests, return_index=True)
        first.sort()
        return first[~self._have(digests[first])]

    def add(self, digests: Digests, vectors: Vectors) -> None:
        """Commit a block of rows: (n,) digests, each once, and (n, dimensions) vectors."""
        with self._lock:
            rows = self._whole_rows()
            self._append("vectors.bin", rows * self._row_bytes, vectors.astype("<f4").tobytes())
            self._append("digests.bin", rows * 8, digests.astype("<u8").tobytes())
        self._refresh()

    def take(self, digests: Digests) -> Vectors:
        """(n, dimensions): memory-mapped where the rows follow each other on disk, as those of a
        corpus do; changes to it stay in memory.

        Raises:
            KeyError: for a text that has no row.
        """
        if not self._have(digests).all():
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

    def _have(self, digests: Digests) -> NDArray[np.bool_]:
        if not len(self._digests):
            return np.zeros(len(digests), bool)
        places = np.searchsorted(self._digests, digests)
        places[places == len(self._digests)] = 0
        return self._digests[places] == digests

    def _refresh(self) -> None:
        """Take in the rows that were added since, by whomever."""
        rows = self._whole_rows()
        if rows == self._seen:
            return
        added = np.fromfile(
            self.folder / "digests.bin", "<u8", rows - self._seen, offset=8 * self._seen
        ).astype(np.uint64)
        digests, first = np.unique(added, return_index=True)
        new = ~self._have(digests)
        digests, first = digests[new], first[new]
        places = np.searchsorted(self._digests, digests)
        self._digests = np.insert(self._digests, places, digests)
        self._rows = np.insert(self._rows, places, first + self._seen)
        self._seen = rows

    def _whole_rows(self) -> int:
        return min(self._size("digests.bin") // 8, self._size("vectors.bin") // self._row_bytes)

    def _size(self, name: str) -> int:
        path = self.folder / name
        return path.stat().st_size if path.exists() else 0

    def _append(self, name: str, start: int, data: bytes) -> None:
        with (self.folder / name).open("ab") as file:
            file.truncate(start)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def digests_of(texts: Sequence[str]) -> Digests:
    """64 bits of each text."""
    each = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(b"".join(each), "<u8").astype(np.uint64)
