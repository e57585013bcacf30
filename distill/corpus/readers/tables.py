"""Corpora in tables: files of rows with columns for id, title and text, in any of the usual forms.

The forms are JSON Lines, JSON (a list of objects), CSV, TSV and Parquet, all of them also
compressed.
"""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from distill.corpus.faults import RowFaults
from distill.corpus.readers.csv_files import has_open_quote, read_csv
from distill.corpus.readers.jsonl import identify_files, read_lines
from distill.corpus.readers.packed import open_unpacked, strip_packed_ending
from distill.corpus.readers.parquet import read_rows
from distill.corpus.readers.rows import (
    Columns,
    CorpusSource,
    Document,
    LocatedRow,
    RowLocation,
    SkippedRow,
    check_documents,
    join_names,
    require_columns,
)
from distill.errors import UserError
from distill.files.read import decode, describe, parse_json

FORMS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
}
"""Endings of files of rows, unpacked."""
USUAL = Columns(
    id="_id id docid doc_id docno document_id passage_id pid uid key",
    title="title headline heading subject name",
    text="text body content contents abstract passage document paragraph description",
)
"""Names that people give the columns, the likeliest first."""
COLUMN_ROWS = 100
"""Rows of a table by which its columns are found: a row of JSON may leave some of them out."""
_LIST = 'write a list of rows: [{"_id": ..., "title": ..., "text": ...}, ...]'
_SQUAD = (
    "it is a labelled set in SQuAD's form: name it in evaluate.tasks; its paragraphs as a corpus: "
    "jq '[.data[] | {title} + (.paragraphs[] | {text: .context})]' FILE"
)
_SHOWN = 3
"""Files that a message names."""
_log = logging.getLogger(__name__)


def detect_form(path: Path) -> str | None:
    """Return the form of a file of rows by its ending; None for any other file."""
    return FORMS.get(Path(strip_packed_ending(path).lower()).suffix)


def open_tables(path: Path, files: Sequence[Path], columns: Columns) -> CorpusSource:
    """Open a corpus of files of rows. Columns that are not named and not there are found by their
    usual names.

    Raises:
        UserError: listing the columns, if there is none for the text, or a named one is not there.
    """
    columns = find_columns(files[0], columns)
    identity = identify_files(path, files, columns)
    if any(map(has_open_quote, files)):
        identity["open quotes"] = "letters"  # of other files the documents are those of before
    return CorpusSource(str(path), identity, lambda: _read(files, columns))


def find_columns(file: Path, columns: Columns) -> Columns:
    """Find the columns to be read, by the first rows: those that were named, else the usual ones.

    Raises:
        UserError: listing the columns that there are, if one is missing.
    """
    faults = RowFaults()
    rows = (row for _, row in read_table(file, faults))
    first = next(rows, None)
    faults.raise_any()
    if first is None:
        raise UserError(str(file), "holds no row", "give a file with rows in corpus.path")
    names = list_columns([first, *itertools.islice(rows, COLUMN_ROWS - 1)])
    return find_usual_columns(str(file), names, columns)


def list_columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """List the columns that any of the rows has, in the order in which they are met."""
    return list(dict.fromkeys(name for row in rows for name in row))


def find_usual_columns(where: str, names: Sequence[str], columns: Columns) -> Columns:
    """Find the columns to be read among those that there are: those that were named, else the usual
    ones.

    Raises:
        UserError: listing the columns that there are, if one is missing.
    """
    columns_read = Columns(
        *(
            _find(names, name, default, usual)
            for name, default, usual in zip(columns, Columns(), USUAL, strict=True)
        )
    )
    require_columns(where, names, columns_read)
    if columns_read != columns:
        shown = ", ".join(repr(n) if n in names else "(none)" for n in columns_read)
        _warn_of_columns(where, shown)
    return columns_read


@cache
def _warn_of_columns(where: str, names: str) -> None:
    """Say once in a process which columns are read."""
    _log.warning(
        "%s: id, title and text are read from the columns %s; corpus.id_column, "
        "corpus.title_column and corpus.text_column name others",
        where,
        names,
    )


def _find(names: Sequence[str], wanted: str, default: str, usual: str) -> str:
    """Find a column's name in the file: one that was named stays; the default one, where it is
    missing, is looked for."""
    if wanted != default or wanted in names:
        return wanted
    by_name = {name.casefold(): name for name in reversed(names)}
    return next((by_name[name] for name in usual.split() if name in by_name), wanted)


def read_table(file: Path, faults: RowFaults) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Read the rows of a file with their numbers, counted from 1.

    Args:
        faults: collects the faults of rows, which are then passed over.
    """
    form = detect_form(file)
    if form == "jsonl":
        return read_lines(file, faults)
    if form == "json":
        return _read_json(file, faults)
    if form == "csv":
        return read_csv(file, faults)
    return read_rows(file)


def _read_json(file: Path, faults: RowFaults) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with open_unpacked(file) as source:
        text = decode(source.read(), str(file))
    rows = parse_json(text, str(file), _LIST, checked=False)
    if not isinstance(rows, list):
        raise UserError(str(file), f"is not a list but {describe(rows)}", _find_remedy(rows))
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            yield number, row
        else:
            where = f"{file}, row {number}"
            faults.add(UserError(where, f"is not a JSON object but {describe(row)}", _LIST))


def _find_remedy(value: Any) -> str:
    """Find what to do with JSON that is no list of rows, but may hold one."""
    of = value if isinstance(value, dict) else {}
    lists = {
        key: rows
        for key, rows in of.items()
        if isinstance(rows, list) and rows and isinstance(rows[0], dict)
    }
    if len(lists) != 1:
        return _LIST
    ((key, rows),) = lists.items()
    if "paragraphs" in rows[0]:
        return _SQUAD
    return f"its rows are in {key!r}: write that list alone, such as by: jq '.\"{key[:40]}\"' FILE"


def _read(files: Sequence[Path], columns: Columns) -> Iterator[Document | SkippedRow]:
    faults = RowFaults()
    untitled: list[Path] = []
    rows = (row for file in files for row in _read_file(file, columns, faults, untitled))
    yield from check_documents(rows, columns, faults)
    if 0 < len(untitled) < len(files):
        _warn_of_untitled(tuple(untitled), columns.title)


@cache
def _warn_of_untitled(files: tuple[Path, ...], title: str) -> None:
    """Say once in a process which files have no titles, though others have."""
    named = ", ".join(file.name for file in files[:_SHOWN]) + (", ..." if files[_SHOWN:] else "")
    _log.warning(
        "%s: without the column %r, which other files have: %d files' documents have no title "
        "(%s); name the columns alike in every file",
        files[0].parent,
        title,
        len(files),
        named,
    )


def _read_file(
    file: Path, columns: Columns, faults: RowFaults, untitled: list[Path]
) -> Iterator[LocatedRow]:
    """Read the rows of one file of a corpus. Columns were found in the first file: one that has
    none for the text is a fault, for all of its rows would be left out; one that has none for the
    title is added to `untitled`."""
    name = Path(strip_packed_ending(file)).stem
    first: Mapping[str, Any] = {}
    has_title = has_text = False
    for number, row in read_table(file, faults):
        first = first or row
        has_title = has_title or columns.title in row
        has_text = has_text or columns.text in row
        yield RowLocation(str(file), number), name, row
    if first and not has_title:
        untitled.append(file)
    if first and not has_text:
        what = f"has no column {columns.text!r}, as the first file has; its columns are "
        remedy = "name the columns alike in every file, or take this one out of the folder"
        faults.add(UserError(str(file), what + join_names(first), remedy))
