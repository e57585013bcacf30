"""How many rows files of rows have, without reading large ones to their end."""

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from distill.corpus.faults import RowFaults
from distill.corpus.readers.packed import read_beginning, strip_packed_ending
from distill.corpus.readers.parquet import count_rows
from distill.corpus.readers.tables import detect_form, read_table
from distill.errors import UserError

_BEGINNING = 2**23
"""Bytes, decompressed, by whose rows those of a file are estimated. Compressed files are read in
blocks of up to 0.9 MB, so that the share of a shorter beginning would be told badly."""
_FILES = 10
"""Files by which those of a folder of more are estimated."""


def measure_files(files: Iterable[Path]) -> int:
    """Return the bytes that files take on the disk."""
    return sum(file.stat().st_size for file in files)


def estimate_rows(files: Sequence[Path]) -> float:
    """Estimate how many rows files of rows have; 0 where there is no such file. Of many files some
    are looked at, and the others taken to have as many rows a byte.

    Raises:
        UserError: if one cannot be opened, or is damaged.
    """
    tables = [file for file in files if detect_form(file) is not None and file.stat().st_size]
    if not tables:
        return 0.0
    some = tables[:: max(1, len(tables) // _FILES)]
    return sum(map(_estimate_rows, some)) * measure_files(tables) / measure_files(some)


def _estimate_rows(file: Path) -> float:
    """Estimate the rows of one file: Parquet says how many it has, a list in JSON is read whole
    anyway, and lines are counted by the first ones."""
    form = detect_form(file)
    if form == "parquet":
        return count_rows(file)
    if form == "json":
        return _count(file)
    beginning, share = read_beginning(file, _BEGINNING)
    if share < 1:
        beginning = beginning[: beginning.rfind(b"\n") + 1]  # the last line is not whole
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, strip_packed_ending(file))
        copy.write_bytes(beginning)
        return _count(copy) / share


def _count(file: Path) -> int:
    count = 0
    # What is wrong with a row is said where the corpus is read.
    with suppress(UserError):
        for _ in read_table(file, RowFaults()):
            count += 1
    return count
