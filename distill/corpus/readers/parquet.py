"""Parquet: a file, or a folder of *.parquet files in the order of their names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.corpus.readers.jsonl import identify_files, list_files
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


def open_parquet(path: Path, columns: Columns) -> CorpusSource:
    """Open a Parquet corpus.

    Raises:
        UserError: if there is no such file.
    """
    files = list_files(path, ".parquet")
    return CorpusSource(str(path), identify_files(files, columns), lambda: _read(files, columns))


def _read(files: list[Path], columns: Columns) -> Iterator[Document | SkippedRow]:
    return check_documents(
        (row for file in files for row in _read_documents(file, columns)), columns
    )


def _read_documents(file: Path, columns: Columns) -> Iterator[LocatedRow]:
    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        require_columns(str(file), names, columns)
    except (pa.ArrowException, OSError) as fault:
        raise _explain_unreadable(file, fault) from fault
    for number, row in read_rows(file, [c for c in columns if c in names]):
        yield RowLocation(str(file), number), file.stem, row


def read_rows(
    file: Path, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the number, counted from 1, and these columns of every row; without them, all.

    Raises:
        UserError: naming the file, or the row of a value that Python cannot hold.
    """
    number = 0
    try:
        for batch in pq.ParquetFile(file).iter_batches(columns=columns and list(columns)):
            for row in _convert_values(batch, file, number):
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as fault:
        raise _explain_unreadable(file, fault) from fault


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
