"""What every corpus source yields, and the checks that all of them share."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from distill.errors import UserError


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
    for count, (place, source, row) in enumerate(rows, 1):
        if numbered is None:
            numbered = columns.id not in row
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


def _id(place: Place, row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(
            str(place),
            f"has no id: {column!r} is {_shown(value)}",
            f"give every row a string or whole number in {column!r}, or no row one",
        )
    return str(value)


def _text(place: Place, row: Mapping[str, Any], columns: Columns) -> str:
    if row.get(columns.text) is None:
        raise UserError(
            str(place),
            f"has no text in column {columns.text!r}; its columns are {sorted(row)}",
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
