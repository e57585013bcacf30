"""Tab-separated files beneath a header row. Quotes are letters like all others: real texts begin
with them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from distill.corpus.faults import RowFaults
from distill.errors import UserError
from distill.files.read import read_text


def read_table(
    file: Path, columns: Sequence[str], texts: Sequence[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Yield each row's place, for messages, and its values in these columns; other columns are
    ignored.

    Args:
        texts: the columns that may be empty: official tasks have such texts, and mteb reads them.

    Raises:
        UserError: after the last row, naming file and rows, for a file that is not UTF-8 or holds
            no row, a header without one of the columns, a row that is broken, or a value that is
            empty.
    """
    lines = _read_lines(file)
    header = _split_fields(lines[0])
    lacking = [column for column in columns if column not in header]
    if lacking:
        raise UserError(
            f"{file}, row 1",
            f"has no column {', '.join(lacking)}; its columns are {', '.join(header)}",
            f"write the header {'<TAB>'.join(columns)}",
        )
    at = [header.index(column) for column in columns]
    rows = [(number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if not rows:
        raise UserError(str(file), "holds no row", "write one row an item, below the header")
    faults = RowFaults()
    for number, line in rows:
        where, fields = f"{file}, row {number}", _split_fields(line)
        if fault := _find_fault(where, fields, header, [i for i in at if header[i] not in texts]):
            faults.add(fault)
        else:
            yield where, [fields[i] for i in at]
    faults.raise_any()


def _find_fault(
    where: str, fields: Sequence[str], header: Sequence[str], needed: Sequence[int]
) -> UserError | None:
    if len(fields) != len(header):
        return UserError(
            where,
            f"has {len(fields)} fields where the header has {len(header)}",
            "separate the fields by one tab, and keep tabs and line breaks out of texts",
        )
    empty = next((header[i] for i in needed if not fields[i].strip()), None)
    return UserError(where, f"has no {empty}", "fill or delete the row") if empty else None


def has_header(file: Path, columns: Sequence[str]) -> bool:
    """Return whether there is such a file, and its first row names these columns."""
    return file.is_file() and set(columns) <= set(_split_fields(_read_lines(file)[0]))


def _read_lines(file: Path) -> list[str]:
    # Not splitlines(), which breaks a text at characters that are no line's end here.
    return read_text(file).split("\n")


def _split_fields(line: str) -> list[str]:
    return line.rstrip("\r").split("\t")
