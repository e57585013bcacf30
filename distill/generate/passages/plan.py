"""Plan the queries to be written: the seed passages, and the conditions of each query.

Memory does not grow with the corpus: seed passages are numbers of rows, and a shard reads its own.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from distill.errors import UserError
from distill.generate.passages.conditions import (
    GenerationConditions,
    draw_conditions,
    load_personas,
)
from distill.generate.settings import WritingSettings
from distill.store.passages import PassageReader
from distill.store.stage import Stage
from distill.store.tables import Row, join_passage
from distill.text.words import count_words


class QueryRequest(NamedTuple):
    """One query to be written: for which passage, as the prompt shows it, which of its samples, and
    under what conditions."""

    passage: Row
    sample: int
    conditions: GenerationConditions


class GenerationPlan:
    """All queries to be written, by number, passage after passage in the order of the corpus."""

    def __init__(self, writing: WritingSettings, passages: Stage) -> None:
        self._settings, self._seed = writing.generate, writing.seed
        self._personas = load_personas(writing.generate.personas, writing.folder)
        self._passages = passages
        rows = find_rows_with_enough_words(passages, writing.generate.min_passage_words)
        self._seeds = sample_seed_rows(rows, writing.generate.passages, writing.seed)

    def __getstate__(self) -> dict[str, object]:
        """Leave out the open table: a worker opens its own."""
        return {key: value for key, value in self.__dict__.items() if key != "_reader"}

    @cached_property
    def _reader(self) -> PassageReader:
        return PassageReader(self._passages.folder)

    @property
    def passages(self) -> int:
        """The number of passages that queries are written from."""
        return len(self._seeds)

    def __len__(self) -> int:
        return self.passages * self._settings.samples

    def __getitem__(self, row: int) -> QueryRequest:
        if not 0 <= row < len(self):
            raise IndexError(row)
        settings = self._settings
        place, sample = divmod(row, settings.samples)
        passage = self._reader[int(self._seeds[place])]
        conditions = draw_conditions(
            settings, self._personas, self._seed, row, passage["passage_id"], sample
        )
        if settings.titles == "never" and passage["text"].strip():
            passage = {**passage, "title": ""}
        return QueryRequest(passage, sample, conditions)

    def list_requests(self, places: range) -> Iterator[QueryRequest]:
        """List the requests of these passages, `generate.samples` for each."""
        samples = self._settings.samples
        return (self[row] for row in range(places.start * samples, places.stop * samples))

    def list_shards(self) -> list[range]:
        """List the ranges of seed passages: a shard holds all that is written for each of its
        own."""
        settings = self._settings
        size = max(1, settings.shard_size // (settings.samples * settings.best_of))
        return [
            range(start, min(start + size, self.passages))
            for start in range(0, self.passages, size)
        ]


def find_rows_with_enough_words(passages: Stage, words: int) -> np.ndarray:
    """Find the numbers of the passages with at least `words` words, in order.

    Raises:
        UserError: if there is none.
    """
    reader = PassageReader(passages.folder)
    if words == 0:
        return np.arange(len(reader))
    rows = enumerate(reader)
    telling = (number for number, row in rows if count_words(join_passage(row)) >= words)
    numbers = np.fromiter(telling, dtype=np.int64)
    if not numbers.size:
        raise UserError(
            str(passages.folder),
            f"no passage has {words} words",
            "lower generate.min_passage_words, or split the corpus less finely",
        )
    return numbers


def sample_seed_rows(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` of the numbers (all, where there are fewer) without replacement, sorted.
    RandomState's stream is frozen, so that any later numpy continues the same run."""
    draw = np.random.RandomState(_make_seed(seed, "seed passages") % 2**32)
    return np.sort(rows[draw.permutation(len(rows))[:count]])


def derive_llm_seed(seed: int, request: QueryRequest, draw: int) -> int:
    """Derive the LLM's seed (31 bits, which every engine takes) from the recipe's: the one thing
    that differs by draw."""
    return _make_seed(seed, request.passage["passage_id"], request.sample, draw) % 2**31


def _make_seed(*parts: object) -> int:
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big")
