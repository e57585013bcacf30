"""Read the passages of a corpus by number or by id, without the corpus in memory."""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from distill.errors import UserError
from distill.files.read_sequence import ReadSequence
from distill.store.passage_lookup import (
    PassageLookup,
    PassageNumbers,
    fingerprint_shards,
    open_lookup,
)
from distill.store.tables import PASSAGES, Reader, Row, join_passage, read_arrow

_IDS_AT_ONCE = 65_536


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
    """The passages of a corpus. Memory does not grow with the corpus: rows of a finished stage are
    taken from a memory-mapped copy of it (see `passage_lookup`). Of a table without one, or of one
    shard, a shard is held as columns, of which only the rows in demand become objects.

    Args:
        folder: of the stage `passages`.
        others: of stages whose passages follow.
    """

    def __init__(self, folder: Path, *others: Path) -> None:
        super().__init__(PASSAGES, folder, *others)
        self._folder = folder
        self._shard: _Shard | None = None

    @property
    def fingerprint(self) -> str | None:
        """A hash of the content of all shards; None for a table of which no checksums are
        recorded."""
        return fingerprint_shards(self._folder, self._paths)

    def read_ids_at(self, numbers: Sequence[int]) -> list[str]:
        """Read the ids of the passages with these row numbers, in the order of the numbers."""
        if self._lookup is None:
            return [str(row["passage_id"]) for row in self.read_rows(numbers)]
        places = self._check_numbers(numbers)
        return list(self._lookup.read_column("passage_id", places))

    def read_rows(self, numbers: Sequence[int]) -> list[Row]:
        """Read the passages with these row numbers, in the order of the numbers; each shard is read
        once."""
        if self._lookup is not None:
            return self._lookup.read_rows(self._check_numbers(numbers))
        by_shard: dict[int, list[int]] = defaultdict(list)
        for number in dict.fromkeys(numbers):
            by_shard[self._find_shard(number)].append(number)
        rows: dict[int, Row] = {}
        for shard, members in sorted(by_shard.items()):
            first = self._find_first_row(shard)
            places = [number - first for number in members]
            rows.update(zip(members, self._load(shard).take(places), strict=True))
        return [rows[number] for number in numbers]

    def find(self, ids: Collection[str]) -> dict[str, NumberedPassage]:
        """Find the passages with these ids. Without a copy of the corpus shards are read from the
        last one on, and round, until all are found: who looks up passages in the order of the
        corpus reads each shard once.

        Raises:
            UserError: if there is no passage with one of the ids.
        """
        if self._lookup is not None:
            wanted = list(dict.fromkeys(ids))
            numbers = self._find_in_lookup(self._lookup, wanted)
            rows = self._lookup.read_rows(numbers)
            each = zip(wanted, numbers.tolist(), rows, strict=True)
            return {id_: NumberedPassage(number, row) for id_, number, row in each}
        passages = self._search_shards(ids)
        self._need_all(set(ids) - passages.keys())
        return passages

    def find_numbers(self, ids: Collection[str]) -> dict[str, int]:
        """Find the row numbers of the passages with these ids.

        Raises:
            UserError: if there is no passage with one of the ids.
        """
        if self._lookup is None:
            return {id_: passage.number for id_, passage in self.find(ids).items()}
        wanted = list(dict.fromkeys(ids))
        numbers = self._find_in_lookup(self._lookup, wanted)
        return dict(zip(wanted, numbers.tolist(), strict=True))

    def find_known_numbers(self, ids: Collection[str]) -> dict[str, int]:
        """Find the row numbers of those of the ids that a passage has."""
        if self._lookup is None:
            return {id_: passage.number for id_, passage in self._search_shards(ids).items()}
        wanted = list(dict.fromkeys(ids))
        numbers = self._lookup.find_numbers(wanted).tolist()
        return {id_: number for id_, number in zip(wanted, numbers, strict=True) if number >= 0}

    def read_texts(self, ids: Collection[str]) -> dict[str, str]:
        """Read the texts of the passages with these ids, titles included (see `find`)."""
        if self._lookup is None:
            return {id_: join_passage(passage.row) for id_, passage in self.find(ids).items()}
        wanted = list(dict.fromkeys(ids))
        numbers = self._find_in_lookup(self._lookup, wanted)
        titles = self._lookup.read_column("title", numbers)
        texts = self._lookup.read_column("text", numbers)
        each = zip(wanted, titles, texts, strict=True)
        return {id_: join_passage({"title": title, "text": text}) for id_, title, text in each}

    @cached_property
    def _lookup(self) -> PassageLookup | None:
        if len(self._paths) <= 1:  # as fast, and read in no time
            return None
        return open_lookup(self._folder, self._paths)

    def _search_shards(self, ids: Collection[str]) -> dict[str, NumberedPassage]:
        """Return the passages with those of the ids that there are."""
        missing, passages = set(ids), dict[str, NumberedPassage]()
        start = self._shard.number if self._shard else 0
        for turn in range(len(self._paths)):
            if not missing:
                break
            shard = self._load((start + turn) % len(self._paths))
            here = [place for place, id_ in enumerate(shard.ids) if id_ in missing]
            first = self._find_first_row(shard.number)
            for place, row in zip(here, shard.take(here), strict=True):
                passages[row["passage_id"]] = NumberedPassage(first + place, row)
                missing.remove(row["passage_id"])
        return passages

    def _find_in_lookup(self, lookup: PassageLookup, ids: Sequence[str]) -> PassageNumbers:
        numbers = lookup.find_numbers(ids)
        self._need_all({ids[place] for place in np.flatnonzero(numbers < 0).tolist()})
        return numbers

    def _check_numbers(self, numbers: Sequence[int]) -> PassageNumbers:
        array = np.asarray(numbers, np.int64)
        outside = array[(array < 0) | (array >= len(self))]
        if len(outside):
            raise IndexError(int(outside[0]))
        return array

    def _need_all(self, missing: Collection[str]) -> None:
        if missing:
            raise UserError(
                str(self._folder),
                f"has no passage {min(missing)!r}, which a later stage refers to",
                "run again with --overwrite stale",
            )

    def _load(self, number: int) -> _Shard:
        if self._shard is None or self._shard.number != number:
            self._shard = None  # its memory first
            columns = read_arrow(PASSAGES, self._paths[number])
            self._shard = _Shard(number, columns, columns["passage_id"].to_pylist())
        return self._shard


def draw_passages(passages: PassageReader, count: int, seed: int | str) -> list[Row]:
    """Draw `count` of the passages by seed, in the corpus' order; all where there are fewer."""
    numbers = range(len(passages))
    return passages.read_rows(sorted(random.Random(seed).sample(numbers, min(count, len(numbers)))))


class PassageIds(ReadSequence[str]):
    """The ids of all passages by row number, read on demand: of 10^8 passages they would fill 7 GB
    of memory."""

    def __init__(self, passages: PassageReader) -> None:
        self._passages = passages

    def __len__(self) -> int:
        return len(self._passages)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _IDS_AT_ONCE):
            yield from self[start : start + _IDS_AT_ONCE]

    def read(self, numbers: Sequence[int]) -> list[str]:
        """Read the ids of these passages."""
        return self._passages.read_ids_at(numbers)


class PassageTexts(ReadSequence[str]):
    """The texts of all passages by row number, read from their shards on demand.

    Args:
        write: how a passage is written for its reader.
    """

    def __init__(self, passages: PassageReader, write: Callable[[Row], str] = join_passage) -> None:
        self._passages = passages
        self._write = write

    def __len__(self) -> int:
        return len(self._passages)

    def read(self, numbers: Sequence[int]) -> list[str]:
        """Read the texts of these passages."""
        return [self._write(self._passages[number]) for number in numbers]
