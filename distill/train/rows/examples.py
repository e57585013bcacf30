"""Examples of a training by number: their texts stay on disk, and only what is small is held."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distill.files.read_sequence import ReadSequence
from distill.store.tables import Row

_IDS_AT_ONCE = 100_000


class ScoredExample(NamedTuple):
    """An example, and the soft scores of its positive, its negatives and its `others` in their
    order; NaN where one is not known. `others` are the ids of further candidates, which soft labels
    alone are learnt from; `source` is where the example comes from, as a mixture names it."""

    row: Row
    scores: list[float]
    others: tuple[str, ...] = ()
    source: str = ""


class ReadableRows(Protocol):
    """Rows that are read when they are asked for."""

    def __getitem__(self, number: int, /) -> Row: ...


class ExampleSource:
    """The examples of one source. Of each its scores, the ids of its further candidates and its
    type of task are held; its row is read when it is asked for.

    Args:
        name: of the source, as a mixture names it.
        rows: read on demand.
        scored: the same examples in the same order, with their scores; gone through once.
        allows: whether an example may be trained on.
    """

    def __init__(
        self,
        name: str,
        rows: ReadableRows,
        scored: Iterable[ScoredExample],
        allows: Callable[[Row], bool],
    ) -> None:
        self.name = name
        self.task_types: list[str] = []
        self.allowed = bytearray()
        self._rows = rows
        self._scores, self._score_ends = array("d"), array("q", [0])
        self._ids, self._id_ends = _TextColumn(), array("q", [0])
        names: dict[str, str] = {}
        for one in scored:
            task_type = one.row["task_type"]
            self.task_types.append(names.setdefault(task_type, task_type))
            self.allowed.append(allows(one.row))
            self._scores.extend(one.scores)
            self._score_ends.append(len(self._scores))
            self._ids.extend(one.others)
            self._id_ends.append(len(self._ids))

    def __len__(self) -> int:
        return len(self.task_types)

    def __getitem__(self, number: int) -> ScoredExample:
        scores = self._scores[self._score_ends[number] : self._score_ends[number + 1]]
        others = self._ids.read(self._id_ends[number], self._id_ends[number + 1])
        return ScoredExample(self._rows[number], scores.tolist(), others, self.name)


class SelectedExamples(ReadSequence[ScoredExample]):
    """Some of the examples, in an order of their own; each is read when it is asked for."""

    def __init__(self, examples: "_Readable", numbers: Sequence[int]) -> None:
        self._examples = examples
        self._numbers: NDArray[np.int64] = np.asarray(numbers, np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, numbers: Sequence[int]) -> list[ScoredExample]:
        """Read the examples at these places."""
        return [self._examples[int(self._numbers[number])] for number in numbers]


class JoinedSources:
    """The examples of several sources, counted through. Gone through in order, each shard of a
    source is read once."""

    def __init__(self, sources: Sequence[ExampleSource]) -> None:
        self._sources = sources
        self._starts = np.cumsum([0, *map(len, sources)])

    def __getitem__(self, number: int) -> ScoredExample:
        source = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._sources[source][number - int(self._starts[source])]


class _Readable(Protocol):
    def __getitem__(self, number: int, /) -> ScoredExample: ...


class _TextColumn:
    """Short texts behind each other, at 8 bytes beside their own."""

    def __init__(self) -> None:
        self._parts: list[pa.Array] = []
        self._new: list[str] = []
        self._full = 0
        self._whole: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return self._full + len(self._new)

    def extend(self, texts: Sequence[str]) -> None:
        self._new.extend(texts)
        if len(self._new) >= _IDS_AT_ONCE:
            self._pack()

    def read(self, start: int, stop: int) -> tuple[str, ...]:
        if start == stop:
            return ()
        if self._whole is None or self._new:
            self._pack()
            self._whole = pa.chunked_array(self._parts, pa.large_string())
        return tuple(self._whole.slice(start, stop - start).to_pylist())

    def _pack(self) -> None:
        self._parts.append(pa.array(self._new, pa.large_string()))
        self._full += len(self._new)
        self._new = []
