"""What every corpus source yields, and the checks that all of them share."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from distill.errors import UserError
from distill.inputs import is_text

_log = logging.getLogger(__name__)
_MOST_NAMES = 20
"""Columns that a message names."""


class Document(NamedTuple):
    """A text of the corpus before splitting; `source` is where it came from, in a word."""

    id: str
    title: str
    text: str
    source: str


@dataclass(frozen=True)
class Source:
    """A corpus that can be read. `identity` changes whenever its documents would; `where` names
    it in errors; `counts` tells what reading left out, once it is over."""

    where: str
    identity: dict[str, Any]
    read: Callable[[], Iterable[Document]]
    counts: Callable[[], Counter[str]] = Counter


class Place(NamedTuple):
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


PlacedRow = tuple[Place, str, Mapping[str, Any]]
"""A row with its place and the word for its source."""


def documents(rows: Iterable[PlacedRow], columns: Columns) -> Iterator[Document]:
    """Checked documents from rows.

    Raises:
        UserError: naming file and row, for a row without text or with an id that is missing or was
            used before.
    """
    places: dict[str, Place] = {}
    numbered: bool | None = None
    titled = columns.title == Columns().title
    for count, (place, source, row) in enumerate(rows, 1):
        titled = titled or columns.title in row
        if numbered is None:
            numbered = _is_numbered(place, row, columns)
        elif numbered and columns.id in row:
            raise UserError(
                str(place),
                f"has an id in {columns.id!r}, and the rows before it have none",
                "give every row an id, or no row one",
            )
        id_ = str(count) if numbered else _id(place, row, columns.id)
        if id_ in places:
            raise UserError(
                str(place),
                f"the id {id_!r} was used in {places[id_]} already",
                "give each row an id of its own",
            )
        places[id_] = place
        title, text = _string(place, row, columns.title, ""), _text(place, row, columns)
        if not title.strip() and not text.strip():
            raise UserError(str(place), "has neither title nor text", "fill or delete the row")
        yield Document(id_, title.strip(), text.strip(), source)
    if places and not titled:
        first = next(iter(places.values()))
        raise UserError(
            first.file,
            f"has no column {columns.title!r} in any row",
            "name the right one in corpus.title_column",
        )


def need_columns(where: str, names: Sequence[str], columns: Columns) -> None:
    """Of a table whose columns are known: the text, and what is named otherwise than by default.

    Raises:
        UserError: listing the columns that are there.
    """
    for part, name, usual in zip(Columns._fields, columns, Columns(), strict=True):
        if name not in names and (part == "text" or name != usual):
            raise UserError(
                where,
                f"has no column {name!r}; its columns are {_names(names)}",
                f"name the right one in corpus.{part}_column",
            )


def _is_numbered(place: Place, row: Mapping[str, Any], columns: Columns) -> bool:
    """By the first row. Who names a column of ids wants it; the default one may be missing."""
    if columns.id in row:
        return False
    if columns.id != Columns().id:
        raise UserError(
            str(place),
            f"has no column {columns.id!r}; its columns are {_names(row)}",
            "name the right one in corpus.id_column",
        )
    _log.warning(
        "%s: its rows are numbered, for there is no column %r (set corpus.id_column); its columns "
        "are %s",
        place.file,
        columns.id,
        _names(row),
    )
    return True


def _id(place: Place, row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(
            str(place),
            f"has no id: {column!r} is {_shown(value)}",
            f"give every row a string or whole number in {column!r}, or no row one",
        )
    if isinstance(value, str) and not is_text(value):
        raise UserError(
            str(place), "has an id with half a surrogate pair or a NUL", "mend the row's id"
        )
    return str(value)


def _names(row: Iterable[str]) -> str:
    names = sorted(map(str, row))
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{[name[:40] for name in names[:_MOST_NAMES]]}{more}"


def _text(place: Place, row: Mapping[str, Any], columns: Columns) -> str:
    if row.get(columns.text) is None:
        raise UserError(
            str(place),
            f"has no text in column {columns.text!r}; its columns are {_names(row)}",
            "fill or delete the row, or name the right column in corpus.text_column",
        )
    return _string(place, row, columns.text, "")


def _string(place: Place, row: Mapping[str, Any], column: str, absent: str) -> str:
    value = row.get(column)
    if value is None:
        return absent
    if not isinstance(value, str):
        raise UserError(
            str(place), f"column {column!r} holds {_shown(value)}", "a string is expected there"
        )
    if not _encodable(value):
        raise UserError(
            str(place), f"column {column!r} holds half a surrogate pair", "mend the row's text"
        )
    return value


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _shown(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
