"""A memory-mapped copy of a corpus' passages, to read any of them without reading the corpus.

A shard of Parquet is decompressed as a whole, so that a few thousand passages from everywhere cost
as much as all of them. Here the rows stand uncompressed, one record batch a shard, beside the
sorted hashes of their ids, 16 bytes a passage. The copy is made once, in the stage's metadata
folder, and named by the checksums of the shards that it was made from.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from distill.files.atomic import open_atomic_folder
from distill.files.checksums import digest_bytes, discard_if_damaged, write_checksums
from distill.runtime.progress import Progress
from distill.store.integrity import read_manifest
from distill.store.tables import PASSAGES, Row, read_arrow

_PREFIX = "lookup-"
_ROWS, _HASHES, _NUMBERS = "rows.arrow", "hashes.npy", "numbers.npy"
_log = logging.getLogger(__name__)

PassageNumbers = NDArray[np.int64]


class PassageLookup:
    """The passages of a complete stage by number and by id. All of it is memory-mapped.

    Args:
        folder: that `open_lookup` made.
    """

    def __init__(self, folder: Path) -> None:
        # The batches keep the mapped file open.
        reader = pa.ipc.open_file(pa.memory_map(str(folder / _ROWS)))
        self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._ends = np.cumsum([len(batch) for batch in self._batches])
        self._hashes = np.load(folder / _HASHES, mmap_mode="r", allow_pickle=False)
        self._numbers = np.load(folder / _NUMBERS, mmap_mode="r", allow_pickle=False)

    def find_numbers(self, ids: Sequence[str]) -> PassageNumbers:
        """Find the row number of each id; -1 for one that no passage has."""
        wanted = _hash_ids(ids)
        places = np.searchsorted(self._hashes, wanted)
        numbers = np.full(len(ids), -1, np.int64)
        missing = np.arange(len(ids))
        while len(missing):  # more than once where hashes are equal
            missing = missing[places[missing] < len(self._hashes)]
            missing = missing[self._hashes[places[missing]] == wanted[missing]]
            here = self._numbers[places[missing]]
            names = np.array([ids[place] for place in missing], object)
            same = self.read_column("passage_id", here) == names
            numbers[missing[same]] = here[same]
            missing = missing[~same]
            places[missing] += 1
        return numbers

    def read_column(self, name: str, numbers: PassageNumbers) -> NDArray[np.object_]:
        """Read one column of the passages with these numbers, in their order."""
        return _convert_to_objects(self._take(numbers, [name])[name])

    def read_rows(self, numbers: PassageNumbers) -> list[Row]:
        """Read the passages with these numbers, in their order."""
        table = self._take(numbers, PASSAGES.columns)
        columns = [_convert_to_objects(table[name]).tolist() for name in PASSAGES.columns]
        return [dict(zip(PASSAGES.columns, row, strict=True)) for row in zip(*columns, strict=True)]

    def _take(self, numbers: PassageNumbers, columns: list[str]) -> pa.Table:
        """Take rows batch after batch, then in the order of the numbers."""
        if not len(numbers):
            return PASSAGES.schema.empty_table().select(columns)
        order = np.argsort(numbers, kind="stable")
        ordered = np.asarray(numbers)[order]
        batches = np.searchsorted(self._ends, ordered, side="right")
        starts = np.flatnonzero(np.diff(batches, prepend=-1))
        parts = []
        for start, stop in zip(starts, [*starts[1:], len(ordered)], strict=True):
            batch = self._batches[batches[start]]
            first = self._ends[batches[start]] - len(batch)
            parts.append(batch.select(columns).take(pa.array(ordered[start:stop] - first)))
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.Table.from_batches(parts).combine_chunks().take(pa.array(back))


def open_lookup(folder: Path, shards: Sequence[Path]) -> PassageLookup | None:
    """Open the copy of a stage's passages, made if it is not there; one that is damaged is made
    again.

    Args:
        folder: of the stage `passages`.
        shards: its shards, in order.

    Returns:
        None for a table that nothing protects from a change (one of no stage, or of a stage that
        is not finished), and where the folder may not be written.
    """
    key = fingerprint_shards(folder, shards)
    if key is None:
        return None
    path = folder / ".stage" / f"{_PREFIX}{key}"
    try:
        with FileLock(folder / ".stage" / "lookup.lock"):
            discard_if_damaged(path)
            if not path.exists():
                for other in path.parent.glob(f"{_PREFIX}*"):  # of shards that stood here before
                    shutil.rmtree(other)
                with open_atomic_folder(path) as beside:
                    _write(beside, shards)
                    write_checksums(beside)
    except OSError as fault:  # a run that may be read alone
        _log.debug("%s cannot be written: %s", path, fault)
        return None
    return PassageLookup(path)


def fingerprint_shards(folder: Path, shards: Sequence[Path]) -> str | None:
    """Hash the checksums of the shards as the stage's manifest records them; None for a table of
    which none are recorded."""
    path = folder / ".stage" / "manifest.json"
    if not path.is_file():
        return None
    manifest = read_manifest(path)
    recorded = manifest.get("files", {}) if manifest["complete"] else {}
    sums = [str(recorded.get(shard.name, {}).get("sha256", "")) for shard in shards]
    return digest_bytes("\n".join(sums).encode())[:16] if all(sums) else None


def _write(folder: Path, shards: Sequence[Path]) -> None:
    hashes = []
    with (
        pa.OSFile(str(folder / _ROWS), "wb") as file,
        pa.ipc.new_file(file, PASSAGES.schema) as writer,
        Progress("lay out passages", len(shards), "shards") as progress,
    ):
        for table in _read_shards(shards):
            writer.write_table(table, max_chunksize=max(1, len(table)))
            hashes.append(_hash_ids(table["passage_id"].to_pylist()))
            progress.advance()
    every = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
    order = np.argsort(every, kind="stable")
    np.save(folder / _HASHES, every[order])
    np.save(folder / _NUMBERS, order.astype(np.int64))


def _read_shards(shards: Sequence[Path]) -> Iterator[pa.Table]:
    for path in shards:
        yield read_arrow(PASSAGES, path).combine_chunks()


def _hash_ids(ids: Sequence[str]) -> NDArray[np.uint64]:
    each = (hashlib.blake2b(id_.encode(), digest_size=8).digest() for id_ in ids)
    return np.frombuffer(b"".join(each), np.uint64)


def _convert_to_objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    objects: NDArray[np.object_] = column.to_numpy()
    return objects
