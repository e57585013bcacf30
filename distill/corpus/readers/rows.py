"""The documents that every corpus source yields, and the checks that all of them share."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from distill.corpus.faults import RowFaults
from distill.corpus.readers.seen import SeenIds
from distill.errors import UserError
from distill.files.read import is_text

_log = logging.getLogger(__name__)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_NAMES = 20
"""Columns that a message names."""


class Document(NamedTuple):
    """A text of the corpus before splitting; `source` is where it came from, in a word.
    `is_repaired`: half a surrogate pair, which no file can hold, was replaced by `\ufffd`. `whole`
    is the id of the document that this one is a section of; empty where it is whole itself."""

    id: str
    title: str
    text: str
    source: str
    is_repaired: bool = False
    whole: str = ""


class SkippedRow(NamedTuple):
    """A row, or another unit, that gives no document, and why, in a word or two."""

    place: str
    id: str
    reason: str
    unit: str = "row"


NO_IDS = "none"
"""Instead of the name of a column of ids: the rows are numbered, whatever their columns are called.
"""
NO_TEXT = "no text"
REPEATED = "repeated"


@dataclass(frozen=True)
class CorpusSource:
    """A corpus that can be read. `identity` changes whenever its documents would; `where` names
    it in errors; `counts` tells what else reading counted, once it is over; `titles_are_prose`:
    whether a title says something, or only names an object.

    A reader is a function that opens such a source. `read` gives each document once, in an order
    that never changes, and can be called again; `check_documents` checks the rows on the way.

    >>> rows = [(RowLocation("notes.txt", 1), "notes", {"_id": "a", "text": "Swifts sleep."})]
    >>> source = CorpusSource(
    ...     where="notes.txt",
    ...     identity={"notes": "the file's checksum"},
    ...     read=lambda: check_documents(rows, Columns()),
    ... )
    >>> [document.text for document in source.read()]
    ['Swifts sleep.']
    """

    where: str
    identity: dict[str, Any]
    read: Callable[[], Iterable[Document | SkippedRow]]
    counts: Callable[[], Counter[str]] = Counter
    titles_are_prose: bool = True


class RowLocation(NamedTuple):
    """A row's file (or dataset) and its number there, counted from 1."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}"


class Columns(NamedTuple):
    """Which columns hold what. A missing id column means that documents are numbered."""

    id: str = "_id"
    title: str = "title"
    text: str = "text"


LocatedRow = tuple[RowLocation, str, Mapping[str, Any]]
"""A row with its place and the word for its source."""


def check_documents(
    rows: Iterable[LocatedRow],
    columns: Columns,
    faults: RowFaults | None = None,
    may_be_numbered: bool = True,
) -> Iterator[Document | SkippedRow]:
    """Yield checked documents from rows, and the rows that are left out: those without title and
    text, and those that repeat an earlier one, id and all.

    Args:
        faults: what is wrong with rows that could not even be read.
        may_be_numbered: whether rows may be without ids.

    Raises:
        UserError: after the last row, naming the first faulty rows: those without an id where
            others have one, with the id of another text, or with anything but text in a column.
    """
    faults = faults or RowFaults()
    reader = _Reader(columns, may_be_numbered)
    for count, (place, source, row) in enumerate(rows, 1):
        try:
            yield reader.make_document(count, place, source, row)
        except UserError as fault:
            faults.add(fault)
    faults.raise_any()
    reader.seen.check()


def require_columns_of_rows(rows: Iterable[LocatedRow], columns: Columns) -> None:
    """Require the column of texts, and that of titles where it is named, of rows that may each lack
    one. Reading ends at the first row by which all of them were seen.

    Raises:
        UserError: listing the columns of the first row, if no row has one of them.
    """
    seen = _SeenColumns(columns)
    for place, _, row in rows:
        seen.add(place, row)
        if seen.are_all:
            return
    seen.check()


class _SeenColumns:
    """Which of the columns that are needed some row had. A title needs to be there only where its
    column was named."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._first: tuple[RowLocation, Mapping[str, Any]] | None = None
        self._titles = columns.title == Columns().title
        self._texts = False

    def add(self, place: RowLocation, row: Mapping[str, Any]) -> None:
        self._first = self._first or (place, row)
        self._titles = self._titles or self._columns.title in row
        self._texts = self._texts or self._columns.text in row

    @property
    def are_all(self) -> bool:
        return self._texts and self._titles

    def check(self) -> None:
        """Check, after the last row, that some row had the columns of texts and titles.

        Raises:
            UserError: if no row had the column of texts, or that of titles which was named.
        """
        if self._first is None:
            return
        place, row = self._first
        if not self._texts:
            raise UserError(
                str(place),
                f"has no text in column {self._columns.text!r}, nor has any row; its columns are "
                f"{join_names(row)}",
                "name the right column in corpus.text_column",
            )
        if not self._titles:
            raise UserError(
                place.file,
                f"has no column {self._columns.title!r} in any row; its columns are "
                f"{join_names(row)}",
                "name the right one in corpus.title_column",
            )


class _Reader:
    """Makes documents of rows, and remembers what the rows so far were like."""

    def __init__(self, columns: Columns, may_be_numbered: bool) -> None:
        self._columns = columns
        self._numbered: bool | None = None if may_be_numbered else False
        self.seen = _SeenColumns(columns)
        self._known = SeenIds()

    def make_document(
        self, count: int, place: RowLocation, source: str, row: Mapping[str, Any]
    ) -> Document | SkippedRow:
        """Make a document of a row, or a skipped row if it has no text.

        Raises:
            UserError: naming the row, for one that is at fault.
        """
        columns = self._columns
        self.seen.add(place, row)
        is_numbered = self._is_numbered(place, row)
        if is_blank(row):
            return SkippedRow(str(place), str(count) if is_numbered else "", NO_TEXT)
        id_ = str(count) if is_numbered else _read_id(place, row, columns.id)
        title, text = (
            _read_string(place, row, columns.title),
            _read_string(place, row, columns.text),
        )
        document = Document(
            id_,
            replace_lost_characters(title).strip(),
            replace_lost_characters(text).strip(),
            escape_name(source),
        )
        if self._is_repeated(place, document):
            return SkippedRow(str(place), id_, REPEATED)
        if not document.title and not document.text:
            return SkippedRow(str(place), id_, NO_TEXT)
        return document._replace(
            is_repaired=replace_lost_characters(title) != title
            or replace_lost_characters(text) != text
        )

    def _is_numbered(self, place: RowLocation, row: Mapping[str, Any]) -> bool:
        if self._numbered is None:
            self._numbered = _is_numbered(place, row, self._columns)
        elif self._numbered and self._columns.id != NO_IDS and self._columns.id in row:
            raise UserError(
                str(place),
                f"has an id in {self._columns.id!r}, and the rows before it have none",
                "give every row an id, or no row one",
            )
        return self._numbered

    def _is_repeated(self, place: RowLocation, document: Document) -> bool:
        """Return whether the row is an earlier one again.

        Raises:
            UserError: if its id belongs to another text.
        """
        content = f"{document.title}\n{document.text}".encode()
        digest = hashlib.blake2b(content, digest_size=16).digest()
        before = self._known.add(document.id, digest, *place)
        if before is None:
            return False
        if before.digest != digest:
            first = RowLocation(before.file, before.row)
            raise UserError(
                str(place),
                f"the id {document.id!r} was used in {first} already, for another text",
                "give each row an id of its own; if the column "
                f"{self._columns.id!r} holds none, set corpus.id_column: {NO_IDS}, which numbers "
                "the rows",
            )
        return True


def require_columns(where: str, names: Sequence[str], columns: Columns) -> None:
    """Require, of a table whose columns are known: the text, and what is named otherwise than by
    default; each once.

    Raises:
        UserError: listing the columns that are there.
    """
    for part, name, usual in zip(Columns._fields, columns, Columns(), strict=True):
        if names.count(name) > 1:
            raise UserError(
                where, f"has the column {name!r} {names.count(name)} times", "rename all but one"
            )
        if part == "id" and name == NO_IDS:
            continue
        if name not in names and (part == "text" or name != usual):
            raise UserError(
                where,
                f"has no column {name!r}; its columns are {join_names(names)}",
                f"name the right one in corpus.{part}_column",
            )


def _is_numbered(place: RowLocation, row: Mapping[str, Any], columns: Columns) -> bool:
    """Return whether rows have ids, by the first row. Who names a column of ids wants it; the
    default one may be missing."""
    if columns.id == NO_IDS:
        return True
    if columns.id in row:
        return False
    if columns.id != Columns().id:
        raise UserError(
            str(place),
            f"has no column {columns.id!r}; its columns are {join_names(row)}",
            "give every row an id, or name the right column in corpus.id_column",
        )
    _log.warning(
        "%s: its rows are numbered, for there is no column %r (set corpus.id_column); its columns "
        "are %s",
        place.file,
        columns.id,
        join_names(row),
    )
    return True


def is_blank(row: Mapping[str, Any]) -> bool:
    """Return whether a row is blank in all of several columns, as the empty rows are that
    spreadsheets write. That of a single column may be an empty text."""
    return len(row) > 1 and all(
        isinstance(value, str) and not value.strip() for value in row.values()
    )


def _read_id(place: RowLocation, row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(
            str(place),
            f"has no id: {column!r} is {_show_value(value) if column in row else 'missing'}",
            f"give every row a string or whole number in {column!r}, or no row one",
        )
    if isinstance(value, str) and not is_text(value):
        raise UserError(
            str(place), "has an id with half a surrogate pair or a NUL", "fix the row's id"
        )
    return str(value)


def join_names(row: Iterable[str]) -> str:
    """Join the names of a row's columns for a message, the first ones of many."""
    names = sorted(map(str, row))
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{[name[:40] for name in names[:_MOST_NAMES]]}{more}"


def _read_string(place: RowLocation, row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if value is not None and not isinstance(value, str):
        raise UserError(
            str(place),
            f"column {column!r} holds {_show_value(value)}",
            "a string is expected there",
        )
    if value and "\0" in value:
        what = f"column {column!r} holds a NUL: it is no text"
        raise UserError(str(place), what, "fix or delete the row")
    return value or ""


def replace_lost_characters(text: str) -> str:
    """Return the text with the sign for a lost character where half a surrogate pair stood."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def make_relative_name(file: Path, folder: Path) -> str:
    """Make the name of a file below a folder: its path from there, as `escape_name` writes it."""
    return escape_name(file.relative_to(folder).as_posix())


def escape_name(name: str) -> str:
    """Return a file's name with escapes for bytes that are no UTF-8, which no table can hold."""
    return name.encode(errors="backslashreplace").decode()


def _show_value(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
