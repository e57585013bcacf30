"""Read the passages of a corpus by number or by id, a shard at a time."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple, overload

import pyarrow as pa

from distill.errors import UserError
from distill.store.tables import PASSAGES, Reader, Row, passage_text, read_arrow


class NumberedPassage(NamedTuple):
    """A passage and its row number in the corpus."""

    number: int
    row: Row


class _Shard(NamedTuple):
    number: int
    columns: pa.Table
    ids: list[str]

    def take(self, places: list[int]) -> list[Row]:
        rows: list[Row] = self.columns.take(pa.array(places, pa.int64())).to_pylist()
        return rows


class PassageReader(Reader):
    """The passages of a corpus. Memory does not grow with the corpus: one shard is held as rows for
    reading in order, and one as columns, of which only the rows in demand become objects.

    Args:
        folder: of the stage `passages`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(PASSAGES, folder)
        self._folder = folder
        self._shard: _Shard | None = None

    def read_ids(self) -> list[str]:
        """Read the ids of all passages, in order. They are all in memory, but no text is."""
        columns = (read_arrow(PASSAGES, path)["passage_id"] for path in self._paths)
        return [id_ for column in columns for id_ in column.to_pylist()]

    def read_rows(self, numbers: Sequence[int]) -> list[Row]:
        """Read the passages with these row numbers, in the order of the numbers; each shard is read
        once."""
        by_shard: dict[int, list[int]] = defaultdict(list)
        for number in dict.fromkeys(numbers):
            by_shard[self._find_shard(number)].append(number)
        rows: dict[int, Row] = {}
        for shard, members in sorted(by_shard.items()):
            first = self._first_row(shard)
            places = [number - first for number in members]
            rows.update(zip(members, self._load(shard).take(places), strict=True))
        return [rows[number] for number in numbers]

    def find(self, ids: Collection[str]) -> dict[str, NumberedPassage]:
        """The passages with these ids. Shards are read from the last one on, and round, until all
        are found: who looks up passages in the order of the corpus reads each shard once.

        Raises:
            UserError: if there is no passage with one of the ids.
        """
        missing, passages = set(ids), dict[str, NumberedPassage]()
        start = self._shard.number if self._shard else 0
        for turn in range(len(self._paths)):
            if not missing:
                break
            shard = self._load((start + turn) % len(self._paths))
            here = [place for place, id_ in enumerate(shard.ids) if id_ in missing]
            first = self._first_row(shard.number)
            for place, row in zip(here, shard.take(here), strict=True):
                passages[row["passage_id"]] = NumberedPassage(first + place, row)
                missing.remove(row["passage_id"])
        if missing:
            raise UserError(
                str(self._folder),
                f"has no passage {min(missing)!r}, which a later stage refers to",
                "run again with --overwrite stale",
            )
        return passages

    def read_texts(self, ids: Collection[str]) -> dict[str, str]:
        """Read the texts of the passages with these ids, titles included (see `find`)."""
        return {id_: passage_text(passage.row) for id_, passage in self.find(ids).items()}

    def _load(self, number: int) -> _Shard:
        if self._shard is None or self._shard.number != number:
            self._shard = None  # its memory first
            columns = read_arrow(PASSAGES, self._paths[number])
            self._shard = _Shard(number, columns, columns["passage_id"].to_pylist())
        return self._shard


class PassageTexts(Sequence[str]):
    """The texts of all passages by row number, read from their shards on demand.

    Args:
        write: how a passage is written for its reader.
    """

    def __init__(self, passages: PassageReader, write: Callable[[Row], str] = passage_text) -> None:
        self._passages = passages
        self._write = write

    def __len__(self) -> int:
        return len(self._passages)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        return self._write(self._passages[number])
