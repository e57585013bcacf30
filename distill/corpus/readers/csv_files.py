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
_QUOTED = re.compile(r'(^|[,;\t|])"(?:[^"]|"")*"')
"""A quoted field, with the delimiter before it."""
_LONGEST_FIELD = 2**27
"""Characters; Python's own limit of 131,072 is less than some documents."""


def read_csv(path: Path, faults: RowFaults) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the number of each row below the header, counted from 1, and its fields by column.

    Fields may be quoted and hold line breaks (RFC 4180). The delimiter of a .csv file is the one of
    `,`, `;`, tab and `|` that its header has most of outside quotes.

    Args:
        faults: collects the faults of rows, which are then passed over.

    Raises:
        UserError: if the file has no header, names a column twice, or is not UTF-8.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    with open_unpacked(path) as source:
        lines = (decode_row(line, f"{path}, line {n}") for n, line in enumerate(source, 1))
        header = next(lines, "").lstrip("\ufeff")
        delimiter = _find_delimiter(path, header)
        rows = csv.reader(itertools.chain([header], lines), delimiter=delimiter, strict=True)
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
            if not row:
                continue
            if len(row) != len(names):
                what = f"has {len(row)} fields where the header has {len(names)}"
                faults.add(UserError(where, what, _REMEDY))
                continue
            yield number, dict(zip(names, row, strict=True))


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


def _find_delimiter(path: Path, header: str) -> str:
    if strip_packed_ending(path).lower().endswith((".tsv", ".tab")):
        return "\t"
    return max(_DELIMITERS, key=_QUOTED.sub(r"\1", header).count)
