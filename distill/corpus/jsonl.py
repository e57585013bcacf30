"""JSON Lines: a file, or a folder of *.jsonl files in the order of their names."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.corpus.documents import Columns, Document, Place, PlacedRow, Source, documents
from distill.errors import UserError


def open_jsonl(path: Path, columns: Columns) -> Source:
    """A JSON Lines corpus.

    Raises:
        UserError: if there is no such file.
    """
    found = files(path, ".jsonl")
    identity = {"files": {f.name: sha256(f) for f in found}, "columns": list(columns)}
    return Source(str(path), identity, lambda: _read(found, columns))


def files(path: Path, suffix: str) -> list[Path]:
    """The file itself, or a folder's files with that suffix, by name."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(str(path), "no such file or folder", "mend corpus.path in the recipe")
    found = sorted(p for p in path.glob(f"*{suffix}") if not p.name.startswith("."))
    if not found:
        raise UserError(str(path), f"holds no {suffix} file", "mend corpus.path or corpus.source")
    return found


def sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers, counted from 1, and objects; empty lines are passed over.

    Raises:
        UserError: naming the line that is no JSON object.
    """
    with path.open("rb") as source:
        for number, line in enumerate(source, 1):
            if not line.strip():
                continue
            where = f"{path}, row {number}"
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except UnicodeDecodeError:
                raise UserError(where, "is not UTF-8", "save the file as UTF-8") from None
            except json.JSONDecodeError as fault:
                raise UserError(
                    where, f"is not JSON: {fault.msg} at column {fault.colno}", "mend the row"
                ) from None
            if not isinstance(row, dict):
                raise UserError(
                    where, "is not a JSON object", 'one {"_id": ..., "text": ...} a row'
                )
            yield number, row


def _read(found: list[Path], columns: Columns) -> Iterator[Document]:
    def rows() -> Iterator[PlacedRow]:
        for file in found:
            for number, row in read_lines(file):
                yield Place(str(file), number), file.stem, row

    return documents(rows(), columns)
