"""JSON Lines: a file, or a folder of *.jsonl files in the order of their names."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill.corpus.faults import RowFaults
from distill.corpus.readers.packed import CODECS, open_unpacked
from distill.corpus.readers.rows import (
    Columns,
    CorpusSource,
    Document,
    LocatedRow,
    RowLocation,
    SkippedRow,
    check_documents,
    make_relative_name,
    require_columns_of_rows,
)
from distill.errors import UserError
from distill.files.atomic import explain_os_error
from distill.files.read import decode_row, describe, describe_search, open_bytes, parse_json


def open_jsonl(path: Path, columns: Columns) -> CorpusSource:
    """Open a JSON Lines corpus. Rows may lack columns, so it is read up to the first one of each
    column that is needed.

    Raises:
        UserError: if there is no such file; or if no row has the column of texts, or that of titles
            which was named.
    """
    files = list_files(path, ".jsonl")
    # What is wrong with rows themselves is said when all of them are read.
    require_columns_of_rows(_iterate_rows(files, RowFaults()), columns)
    identity = identify_files(path, files, columns)
    return CorpusSource(str(path), identity, lambda: _read(files, columns))


def identify_files(path: Path, files: Sequence[Path], columns: Columns) -> dict[str, Any]:
    """Collect what changes the documents of files of rows, for fingerprints.

    Args:
        path: of the corpus: the file, the folder that the files lie below, or a path with wildcards
            in its last part.
    """
    folder = path if path.is_dir() else path.parent
    hashes = {make_relative_name(file, folder): hash_file(file) for file in files}
    return {"files": hashes, "columns": list(columns)}


def is_file(path: Path) -> bool:
    """Return whether a corpus is one file; else it is a folder.

    Raises:
        UserError: if there is neither, or it cannot be looked at.
    """
    try:
        if path.is_file():
            return True
        if path.is_dir():
            return False
    except OSError as fault:
        raise explain_os_error(fault, path) from fault
    raise UserError(
        str(path),
        f"no such file or folder{describe_search(path)}",
        "correct corpus.path in the recipe, or write the whole path",
    )


def list_files(path: Path, suffix: str) -> list[Path]:
    """List the file itself, or a folder's files with that suffix, by name."""
    if is_file(path):
        return [path]
    there = sorted(p for p in path.glob("*") if not p.name.startswith("."))
    files = [p for p in there if p.name.endswith(_list_endings(suffix))]
    _refuse_others(path, suffix, [p for p in there if p not in files])
    if not files:
        raise UserError(
            str(path),
            f"holds no {suffix} file",
            "correct corpus.path, or set corpus.source: auto, which reads other files too",
        )
    return files


def _list_endings(suffix: str) -> tuple[str, ...]:
    """Return the file names' endings of a format, those of compressed files included."""
    return (suffix, *(suffix + packed for packed in CODECS))


def _refuse_others(path: Path, suffix: str, others: list[Path]) -> None:
    """Refuse a folder with files of this kind that would not be read.

    Raises:
        UserError: if there are files of the kind that would not be read, compressed or with a
            suffix in capitals: the corpus would lack their part without a word.
    """
    kind = re.compile(rf"{re.escape(suffix)}(\.(gz|bz2|xz|zst|zip|lz4|7z))?$", re.IGNORECASE)
    unread = [p.name for p in others if kind.search(p.name) and p.is_file()]
    if unread:
        names = ", ".join(unread[:3]) + (", ..." if len(unread) > 3 else "")
        raise UserError(
            str(path),
            f"holds {names}, and only files named *{suffix} are read",
            "unpack and rename them, or move them elsewhere",
        )


def hash_file(path: Path) -> str:
    """Compute the SHA-256 of a file, decompressed if its name says that it is packed, in hex."""
    try:
        with open_bytes(path, text=False) as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as fault:
        raise explain_os_error(fault, path) from fault


def read_lines(path: Path, faults: RowFaults | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line numbers, counted from 1, and objects; empty lines are passed over.

    Args:
        faults: collects the faults of lines, which are then passed over.

    Raises:
        UserError: naming the line that is no JSON object, or what the file is instead of text.
    """
    with open_unpacked(path) as source:
        for number, line in enumerate(source, 1):
            if not line.strip():
                continue
            try:
                yield number, _parse_object(line, f"{path}, row {number}")
            except UserError as fault:
                if faults is None:
                    raise
                faults.add(fault)


def _parse_object(line: bytes, where: str) -> dict[str, Any]:
    row = parse_json(decode_row(line, where), where, "fix the row", checked=False)
    if not isinstance(row, dict):
        what = f"is not a JSON object but {describe(row)}"
        raise UserError(where, what, 'one {"_id": ..., "text": ...} a row')
    return row


def _read(files: list[Path], columns: Columns) -> Iterator[Document | SkippedRow]:
    faults = RowFaults()
    return check_documents(_iterate_rows(files, faults), columns, faults)


def _iterate_rows(files: list[Path], faults: RowFaults) -> Iterator[LocatedRow]:
    for file in files:
        for number, row in read_lines(file, faults):
            yield RowLocation(str(file), number), file.stem, row
