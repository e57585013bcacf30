"""Passages on disk until it is known which of them a corpus keeps."""

import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distill.files.atomic import name_full_disk
from distill.store.passage_lookup import PassageNumbers
from distill.store.tables import PASSAGES, Row

_BATCH = 4096
"""Passages in memory at a time."""


class PassageSpool:
    """Passages in a file without a name, which goes with the process. In memory are 24 bytes a
    passage: digests of what it says and of its id.

    Args:
        folder: where the file is; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (as long as the object)
        self._writer = pa.ipc.new_file(pa.PythonFile(self._file, "w"), PASSAGES.schema)
        self._waiting: list[Row] = []
        self._ends: list[int] = []
        self._texts, self._ids = bytearray(), array("q")
        self._reader: Any = None
        self._batch: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, row: Row, digest: bytes) -> None:
        """Add a passage and the digest, 16 bytes, of what it says."""
        self._texts += digest
        self._ids.append(hash(row["passage_id"]))
        self._waiting.append(row)
        if len(self._waiting) == _BATCH:
            self._write()

    def close(self) -> None:
        """End the writing; from now on passages can be read."""
        if self._waiting:
            self._write()
        self._writer.close()
        self._file.flush()
        self._reader = pa.ipc.open_file(pa.PythonFile(self._file, "r"))

    def find_first(self) -> NDArray[np.bool_]:
        """Find the passages of which no earlier one says the same: (passages,) bool."""
        high, low = np.frombuffer(self._texts, np.uint64).reshape(-1, 2).T
        order = np.lexsort((low, high))  # stable: the first of equal ones comes first
        repeats = np.zeros(len(self), bool)
        same = (high[order[1:]] == high[order[:-1]]) & (low[order[1:]] == low[order[:-1]])
        repeats[order[1:][same]] = True
        return ~repeats

    def find_repeated_id(self, numbers: PassageNumbers) -> str | None:
        """Find the id that most of these passages have, if it is more than one."""
        marks = np.frombuffer(self._ids, np.int64)[numbers]
        ordered = np.sort(marks)
        repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not len(repeated):
            return None
        ids = (row["passage_id"] for row in self.read(numbers[np.isin(marks, repeated)]))
        most = Counter(ids).most_common(1)
        return str(most[0][0]) if most[0][1] > 1 else None

    def read(self, numbers: PassageNumbers) -> Iterator[Row]:
        """Read passages by number, in rising order, a batch in memory at a time."""
        if not len(numbers):
            return
        batches = np.searchsorted(self._ends, numbers, side="right")
        starts = np.flatnonzero(np.diff(batches, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True):
            number = int(batches[start])
            if number != self._batch[0]:
                self._batch = (number, self._reader.get_batch(number))
            first = self._ends[number - 1] if number else 0
            places = pa.array(numbers[start:stop] - first)
            yield from self._batch[1].take(places).to_pylist()

    def _write(self) -> None:
        with name_full_disk(self._folder):
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._waiting, PASSAGES.schema))
        self._ends.append(len(self))
        self._waiting = []


class SpooledPassages:
    """Some of a spool's passages, in its order."""

    def __init__(self, spool: PassageSpool, numbers: PassageNumbers) -> None:
        self._spool = spool
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, places: slice) -> list[Row]:
        return list(self._spool.read(self._numbers[places]))

    def get_number(self, place: int) -> int | None:
        """Return the number in the spool of the passage at a place; None behind the last one."""
        return int(self._numbers[place]) if place < len(self) else None
