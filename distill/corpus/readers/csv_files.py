"""Tables with a header row: .csv and .tsv files."""

import csv
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from distill.corpus.faults import RowFaults
from distill.corpus.readers.packed import open_unpacked, strip_packed_ending
from distill.errors import UserError
from distill.files.read import decode_row

_DELIMITERS = ",;\t|"
_REMEDY = 'quote fields that hold the delimiter, a quote or a line break: "like ""this"", for one"'
_TSV_REMEDY = (
    "write a row a line, with a tab between fields and none in them; a file named .csv may hold "
    "both within quotes"
)
_QUOTED_FIELD = re.compile(r'"((?:[^"]|"")*)"')
_OPEN_QUOTE = re.compile(rb'(?:^|\t)"(?:[^"\t]|"")*(?:\t|\r?\n|$)')
"""A field of a TSV file that begins with a quote and has none at its end."""
_QUOTED = re.compile(r'(^|[,;\t|])"(?:[^"]|"")*"')
"""A quoted field, with the delimiter before it."""
_LONGEST_FIELD = 2**27
"""Characters; Python's own limit of 131,072 is less than some documents."""


def read_csv(path: Path, faults: RowFaults) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the number of each row below the header, counted from 1, and its fields by column.

    Fields of a .csv file may be quoted and hold line breaks (RFC 4180). Its delimiter is the one of
    `,`, `;`, tab and `|` that its header has most of outside quotes. Of a .tsv or .tab file each
    line is a row (see `split_tsv_line`).

    Args:
        faults: collects the faults of rows, which are then passed over.

    Raises:
        UserError: if the file has no header, names a column twice, or is not UTF-8.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    with open_unpacked(path) as source:
        lines = (decode_row(line, f"{path}, line {n}") for n, line in enumerate(source, 1))
        rows = _split_rows(path, next(lines, "").lstrip("\ufeff"), lines)
        names = _read_names(path, rows)
        number = 0
        while True:
            number += 1
            where = f"{path}, row {number}"
            try:
                row = next(rows, None)
            except csv.Error as fault:
                faults.add(UserError(where, f"cannot be read ({fault})", _REMEDY))
                continue
            if row is None:
                return
            if not row or (len(row) != len(names) and not any(map(str.strip, row))):
                continue  # An empty row, which a spreadsheet may write as `,,`.
            if len(row) != len(names):
                what = f"has {len(row)} fields where the header has {len(names)}"
                faults.add(UserError(where, what, _TSV_REMEDY if is_tsv(path) else _REMEDY))
                continue
            yield number, dict(zip(names, row, strict=True))


def is_tsv(path: Path) -> bool:
    """Return whether a file is one of fields between tabs, by its name, unpacked."""
    return strip_packed_ending(path).lower().endswith((".tsv", ".tab"))


def split_tsv_line(line: str) -> list[str]:
    """Split a line into fields. A field that is quoted as in a .csv file loses its quotes; all
    other quotes are letters, with which real queries and texts begin.

    >>> split_tsv_line('1\\t"a ""b"" c"\\t"exact phrase" of a query\\n')
    ['1', 'a "b" c', '"exact phrase" of a query']
    """
    text = line.rstrip("\r\n")
    return [_strip_quotes(field) for field in text.split("\t")] if text else []


def _strip_quotes(field: str) -> str:
    quoted = _QUOTED_FIELD.fullmatch(field)
    return quoted[1].replace('""', '"') if quoted else field


def has_open_quote(path: Path) -> bool:
    """Return whether a file is one of fields between tabs, a field of which begins with a quote
    that does not end it. Such a field was once read on up to the next quote, over tabs and lines:
    what is known by its file's content needs a mark that its rows are others now."""
    if not is_tsv(path):
        return False
    with open_unpacked(path) as source:
        return any(_OPEN_QUOTE.search(line) for line in source)


def _split_rows(path: Path, header: str, lines: Iterator[str]) -> Iterator[list[str]]:
    every_line = itertools.chain([header], lines)
    if is_tsv(path):
        return map(split_tsv_line, every_line)
    return csv.reader(every_line, delimiter=_find_delimiter(header), strict=True)


def _read_names(path: Path, rows: Iterator[list[str]]) -> list[str]:
    try:
        names = [name.strip() for name in next(rows, [])]
    except csv.Error as fault:
        raise UserError(str(path), f"its header cannot be read ({fault})", _REMEDY) from fault
    if not any(names):
        raise UserError(str(path), "has no header", "name the columns in the first row")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(str(path), f"has the column {twice[0]!r} twice", "rename one of them")
    return names


def _find_delimiter(header: str) -> str:
    return max(_DELIMITERS, key=_QUOTED.sub(r"\1", header).count)
