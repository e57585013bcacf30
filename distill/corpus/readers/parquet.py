"""Parquet: a file, or a folder of *.parquet files in the order of their names, also compressed."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.corpus.readers.jsonl import identify_files, list_files
from distill.corpus.readers.packed import CODECS, open_unpacked, strip_packed_ending
from distill.corpus.readers.rows import (
    Columns,
    CorpusSource,
    Document,
    LocatedRow,
    RowLocation,
    SkippedRow,
    check_documents,
    require_columns,
)
from distill.errors import UserError, quote_fault
from distill.files.atomic import explain_os_error


def open_parquet(path: Path, columns: Columns) -> CorpusSource:
    """Open a Parquet corpus.

    Raises:
        UserError: if there is no such file.
    """
    files = list_files(path, ".parquet")
    identity = identify_files(path, files, columns)
    return CorpusSource(str(path), identity, lambda: _read(files, columns))


def _read(files: list[Path], columns: Columns) -> Iterator[Document | SkippedRow]:
    return check_documents(
        (row for file in files for row in _read_documents(file, columns)), columns
    )


def _read_documents(file: Path, columns: Columns) -> Iterator[LocatedRow]:
    name = Path(strip_packed_ending(file)).stem
    with _open_parquet(file) as parquet:
        names = parquet.schema_arrow.names
        require_columns(str(file), names, columns)
        for number, row in _iterate_rows(parquet, file, [c for c in columns if c in names]):
            yield RowLocation(str(file), number), name, row


def read_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the number, counted from 1, and all columns of every row.

    Raises:
        UserError: naming the file, or the row of a value that Python cannot hold.
    """
    with _open_parquet(file) as parquet:
        yield from _iterate_rows(parquet, file)


def count_rows(file: Path) -> int:
    """Return how many rows a file has, by its own index.

    Raises:
        UserError: if it cannot be read.
    """
    with _open_parquet(file) as parquet:
        return int(parquet.metadata.num_rows)


@contextmanager
def _open_parquet(file: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; a compressed one is unpacked to a temporary file first, for Parquet
    keeps its index at the end."""
    try:
        if file.suffix.lower() not in CODECS:
            with pq.ParquetFile(file) as parquet:
                yield parquet
            return
        with tempfile.TemporaryFile() as unpacked:
            _unpack(file, unpacked)
            with pq.ParquetFile(unpacked) as parquet:
                yield parquet
    except (pa.ArrowException, OSError) as fault:
        raise _explain_unreadable(file, fault) from fault


def _unpack(file: Path, unpacked: IO[bytes]) -> None:
    with open_unpacked(file) as source:
        try:
            shutil.copyfileobj(source, unpacked)
        except OSError as fault:
            # Damaged data has no number: that is the source's, which explains it.
            if not fault.errno:
                raise
            raise explain_os_error(fault, Path(tempfile.gettempdir())) from fault


def _iterate_rows(
    parquet: pq.ParquetFile, file: Path, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    for batch in parquet.iter_batches(columns=columns and list(columns)):
        for row in _convert_values(batch, file, number):
            number += 1
            yield number, row


def _convert_values(batch: pa.RecordBatch, file: Path, before: int) -> list[dict[str, Any]]:
    try:
        return batch.to_pylist()
    except (ValueError, ArithmeticError):
        for number in range(batch.num_rows):
            try:
                batch.slice(number, 1).to_pylist()
            except (ValueError, ArithmeticError) as fault:
                raise UserError(
                    f"{file}, row {before + number + 1}",
                    f"cannot be read ({fault})",
                    "write the file anew, texts as UTF-8",
                ) from fault
        raise


def _explain_unreadable(file: Path, fault: Exception) -> UserError:
    what = f"is not a readable Parquet file ({quote_fault(fault)})"
    return UserError(str(file), what, "fetch or write it anew")
