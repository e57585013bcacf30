"""Parquet: a file, or a folder of *.parquet files in the order of their names."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from distill.corpus.documents import Columns, Document, Place, PlacedRow, Source, documents
from distill.corpus.jsonl import files, sha256
from distill.errors import UserError


def open_parquet(path: Path, columns: Columns) -> Source:
    """A Parquet corpus.

    Raises:
        UserError: if there is no such file.
    """
    found = files(path, ".parquet")
    identity = {"files": {f.name: sha256(f) for f in found}, "columns": list(columns)}
    return Source(str(path), identity, lambda: _read(found, columns))


def _read(found: list[Path], columns: Columns) -> Iterator[Document]:
    return documents((row for file in found for row in _rows(file, columns)), columns)


def _rows(file: Path, columns: Columns) -> Iterator[PlacedRow]:
    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        _need_text(file, names, columns)
        number = 0
        for batch in parquet.iter_batches(columns=[c for c in columns if c in names]):
            for row in batch.to_pylist():
                number += 1
                yield Place(str(file), number), file.stem, row
    except (pa.ArrowInvalid, OSError) as fault:
        raise UserError(
            str(file), f"is not a readable Parquet file ({fault})", "fetch or write it anew"
        ) from fault


def _need_text(file: Path, names: list[str], columns: Columns) -> None:
    if columns.text not in names:
        raise UserError(
            str(file),
            f"has no column {columns.text!r}; its columns are {names}",
            "name the right one in corpus.text_column",
        )
