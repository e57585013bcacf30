"""The rows of a labelled set's file, checked: .tsv and .csv with a header, .jsonl, .parquet."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from distill.corpus.readers.csv_files import is_tsv, split_tsv_line
from distill.corpus.readers.jsonl import read_lines
from distill.corpus.readers.parquet import read_rows
from distill.errors import UserError
from distill.files.read import describe_search, is_text, open_bytes, read_text
from distill.text.sanitize import sanitize_for_prompt

NumberedRow = tuple[int, Mapping[str, Any]]
"""A row with its number: the line in a text file (the header's is 1), else counted from 1."""

NumberedFields = tuple[int, list[str]]
"""The fields of a row with its number, as that of a `NumberedRow`."""

_LONGEST_FIELD = 131_072
"""Characters; what is longer is a quote that is never closed."""


def read_labelled(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Read each row's number and what it holds in these columns, as plain text of one line.

    Raises:
        UserError: naming file and row, for a file that cannot be read, a column that is not there,
            or a value that is neither text nor a whole number, or is empty.
    """
    reader = _READERS.get(file.suffix)
    if reader is None:
        raise UserError(
            str(file), f"is none of {', '.join(_READERS)}", "save the labelled set as one of them"
        )
    if not file.is_file():
        what = f"no such file{describe_search(file)}"
        raise UserError(str(file), what, "correct generate.labelled.path in the recipe")
    for number, row in reader(file):
        yield number, [_read_text(f"{file}, row {number}", row, column) for column in columns]


def _read_text(where: str, row: Mapping[str, Any], column: str) -> str:
    if column not in row:
        raise UserError(
            where,
            f"has no column {column!r}; its columns are {', '.join(map(str, row))}",
            "name the right one in generate.labelled",
        )
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(
            where,
            f"column {column!r} holds {type(value).__name__} {str(value)[:40]!r}",
            "a text or a whole number is expected there",
        )
    if isinstance(value, str) and not is_text(value):
        what = f"column {column!r} holds half a surrogate pair or a NUL"
        raise UserError(where, what, "fix the row's text")
    text = sanitize_for_prompt(str(value))
    if not text:
        raise UserError(where, f"column {column!r} is empty", "fill or delete the row")
    return text


def _read_columns(file: Path) -> Iterator[NumberedRow]:
    """Read a file with a header. Empty rows, which spreadsheets write, are passed over."""
    split = _split_tsv if is_tsv(file) else _split_csv
    open_bytes(file).close()
    with file.open(encoding="utf-8-sig", newline="") as source:
        try:
            rows = split(file, source)
            header = next(rows, (1, []))[1]
            # A column without a name, such as the row numbers that pandas writes, is left alone.
            names = [name for name in header if name]
            _check_header(file, names)
            for number, fields in rows:
                if not any(map(str.strip, fields)):
                    continue
                row = dict(zip(header, fields, strict=False))
                if len(fields) > len(header) or any(name not in row for name in names):
                    raise UserError(
                        f"{file}, row {number}",
                        "has other columns than the header",
                        f"give each row {', '.join(names)}; texts with tabs or line breaks, in "
                        "quotes, need a file named .csv",
                    )
                yield number, row
        except UnicodeDecodeError:
            read_text(file)  # says in which row
            raise


def _split_tsv(_: Path, lines: TextIO) -> Iterator[NumberedFields]:
    """Split each line, as those of corpora are."""
    yield from enumerate(map(split_tsv_line, lines), 1)


def _split_csv(file: Path, lines: TextIO) -> Iterator[NumberedFields]:
    csv.field_size_limit(_LONGEST_FIELD)  # of the whole process: others may have raised it
    # Strict: else a quote that is never closed would swallow all rows that follow it.
    rows = csv.reader(lines, strict=True)
    number = 0
    try:
        for fields in rows:
            number = rows.line_num
            yield number, fields
    except csv.Error as fault:
        raise UserError(
            f"{file}, row {number + 1}",
            f"cannot be read ({fault})",
            "quote a field that holds a quote or a line break, and double the quotes in it",
        ) from None


def _check_header(file: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f"{file}, row 1", f"names the column {twice[0]!r} twice", "name each column once"
        )


_READERS: Mapping[str, Callable[[Path], Iterator[NumberedRow]]] = {
    ".tsv": _read_columns,
    ".csv": _read_columns,
    ".jsonl": read_lines,
    ".parquet": read_rows,
}
