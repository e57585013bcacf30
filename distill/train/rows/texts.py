"""Texts of a training by number, read from the examples and from the corpus when they are asked
for."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from distill.files.read_sequence import ReadSequence
from distill.store.tables import Row
from distill.student.writing import StudentTexts
from distill.text.digests import digest_text
from distill.text.format import PromptedText
from distill.train.rows.examples import ScoredExample

T = TypeVar("T")
_AT_ONCE = 256
"""Examples that are in memory at a time."""

NO_EXAMPLE = -1
QUERY = -1
"""The column of an example's query; its documents are counted from 0."""


class CorpusRows(Protocol):
    """The passages of a corpus, of which few are in memory."""

    def __iter__(self) -> Iterator[Row]: ...

    def read_texts(self, ids: Collection[str]) -> dict[str, str]:
        """Read the texts of some passages by their ids."""
        ...


class ExampleDocuments(NamedTuple):
    """An example's row and its documents: the positive, the negatives, and its further candidates,
    which are passages of the corpus."""

    row: Row
    documents: list[str]


class PlacedText(NamedTuple):
    """A text and the example that it stands in; the text of a query is None, as its row has it, and
    the row of a document of no example. A query of no example has a row of its own."""

    row: Row | None
    text: str | None

    def read_query(self) -> str:
        """Read the query of the example."""
        return self._read("query")

    def read_task(self) -> str:
        """Read the task of the example."""
        return self._read("task")

    def read_document(self) -> str:
        """Read the text of a document."""
        if self.text is None:
            raise ValueError("a query is no document")
        return self.text

    def _read(self, column: str) -> str:
        if self.row is None:
            raise ValueError("a text of no example has no query")
        return str(self.row[column])


class TextPlaces(NamedTuple):
    """The places of texts: the example, and the column of it (`QUERY`, or the number of a
    document). The columns of `NO_EXAMPLE` number texts that stand in none."""

    examples: NDArray[np.int64]
    columns: NDArray[np.int64]


class ExampleTexts:
    """The texts of some examples, and a few that stand in none.

    Args:
        examples: read on demand.
        passages: the corpus, where the texts of further candidates stand.
        texts: of no example.
    """

    def __init__(
        self,
        examples: Sequence[ScoredExample],
        passages: CorpusRows | None = None,
        texts: Sequence[PlacedText] = (),
    ) -> None:
        self._examples = examples
        self._passages = passages
        self._texts = texts

    def __iter__(self) -> Iterator[ExampleDocuments]:
        for start in range(0, len(self._examples), _AT_ONCE):
            some = self._examples[start : start + _AT_ONCE]
            texts = self._read_passages({id_ for scored in some for id_ in scored.others})
            for row, _, others, _ in some:
                own = [row["positive"], *row["negatives"]]
                yield ExampleDocuments(row, [*own, *(texts[id_] for id_ in others)])

    def read(self, places: TextPlaces) -> list[PlacedText]:
        """Read the texts at some places, in their order."""
        by_place: dict[int, PlacedText] = {}
        order = np.argsort(places.examples, kind="stable").tolist()
        for start in range(0, len(order), _AT_ONCE):
            candidates: dict[int, tuple[Row, str]] = {}
            for place in order[start : start + _AT_ONCE]:
                example, column = int(places.examples[place]), int(places.columns[place])
                if example == NO_EXAMPLE:
                    by_place[place] = self._texts[column]
                    continue
                row, _, others, _ = self._examples[example]
                if column > (negatives := len(row["negatives"])):
                    candidates[place] = row, others[column - negatives - 1]
                else:
                    by_place[place] = PlacedText(row, _read_column(row, column))
            texts = self._read_passages({id_ for _, id_ in candidates.values()})
            by_place |= {
                place: PlacedText(row, texts[id_]) for place, (row, id_) in candidates.items()
            }
        return [by_place[place] for place in range(len(order))]

    def _read_passages(self, ids: Collection[str]) -> dict[str, str]:
        if not ids or self._passages is None:
            return {}
        return self._passages.read_texts(ids)


def _read_column(row: Row, column: int) -> str | None:
    if column == QUERY:
        return None
    return str(row["negatives"][column - 1] if column else row["positive"])


class TextsOnDemand(ReadSequence[T]):
    """Numbered texts, each written from where it stands when it is asked for.

    Args:
        places: of the texts, by number.
        write: how a text is written for its reader.
    """

    def __init__(
        self, examples: ExampleTexts, places: TextPlaces, write: Callable[[PlacedText], T]
    ) -> None:
        self._examples = examples
        self._places = places
        self._write = write

    def __len__(self) -> int:
        return len(self._places.examples)

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE]

    def read(self, numbers: Sequence[int]) -> list[T]:
        """Read the texts with these numbers, in their order; each shard is read once."""
        wanted = np.asarray(numbers, np.int64)
        places = TextPlaces(*(of[wanted] for of in self._places))
        return [self._write(placed) for placed in self._examples.read(places)]


class TextsById(Mapping[str, str]):
    """Numbered texts under the ids `PREFIX-0`, `PREFIX-1` and so on."""

    def __init__(self, prefix: str, texts: Sequence[str]) -> None:
        self._prefix = f"{prefix}-"
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[str]:
        return (f"{self._prefix}{number}" for number in range(len(self)))

    def __getitem__(self, id_: str) -> str:
        number = id_.removeprefix(self._prefix)
        if number == id_ or not number.isdecimal() or int(number) >= len(self):
            raise KeyError(id_)
        return self._texts[int(number)]


def write_for_student(writer: StudentTexts, placed: PlacedText) -> PromptedText:
    """Write a query or a document as the student reads it."""
    if placed.row is not None and placed.text is None:
        return writer.write_query(placed.row)
    return writer.write_document(placed.read_document(), placed.row)


def digest_prompted(text: PromptedText) -> bytes:
    """Hash a text as a model reads it to 8 bytes."""
    return digest_text(f"{len(text.prompt)} {text.prompt}{text.text}")
