"""Candidates brought together by passage, a block of queries at a time.

A passage's prefix is worth sharing among all queries that it is a candidate for, but sorting all
candidates by passage would take memory without bound. So the shards of `candidates`, which hold
whole queries, are taken some at a time; within such a block the pairs are sorted by passage and cut
into pieces of about equal size. All of it follows from the shards' row counts alone, so what a
piece holds is the same in every process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from distill.recipe import Relabel
from distill.store.passages import PassageReader
from distill.store.shards import list_shards
from distill.store.stage import Stage
from distill.store.tables import (
    CANDIDATES,
    QUERIES,
    Reader,
    Row,
    count_rows_by_shard,
    read_shard,
)


class JudgementPart(NamedTuple):
    """Pairs `start` to `stop` of a block, sorted by passage: one shard of judgements."""

    block: int
    start: int
    stop: int


class QueryPassagePair(NamedTuple):
    """The ids of a query and of a passage."""

    query_id: str
    passage_id: str


@dataclass(frozen=True)
class PairBlock:
    """A block's pairs by passage, each passage's in the order of the queries, and their texts."""

    pairs: list[QueryPassagePair]
    queries: dict[str, str]
    passages: dict[str, str]


class CandidateLayout:
    """The division of a table of candidates into blocks of queries.

    Args:
        queries_a_block: rounded down to whole shards, one at least.
        queries_a_shard: of candidates.
    """

    def __init__(self, candidates: Stage, queries_a_block: int, queries_a_shard: int) -> None:
        paths = list_shards(candidates.folder)
        rows = count_rows_by_shard(candidates.folder, paths)
        self._shards_a_block = max(1, queries_a_block // queries_a_shard)
        self._queries_a_block = self._shards_a_block * queries_a_shard
        starts = range(0, len(paths), self._shards_a_block)
        self._paths = [paths[start : start + self._shards_a_block] for start in starts]
        self._rows = [sum(rows[start : start + self._shards_a_block]) for start in starts]

    def list_pieces(self, size: int) -> list[JudgementPart]:
        """Return all pieces, in order, each of `size` pairs but for a block's last."""
        return [
            JudgementPart(number, start, min(start + size, rows))
            for number, rows in enumerate(self._rows)
            for start in range(0, rows, size)
        ]

    def find_block(self, shard: int) -> int:
        """Return the number of the block that holds a shard of candidates."""
        return shard // self._shards_a_block

    def read_candidates(self, block: int) -> list[Row]:
        """Read the candidates of a block of passages."""
        return [row for path in self._paths[block] for row in read_shard(CANDIDATES, path)]

    def number_queries(self, block: int, all_of_them: int) -> range:
        """Return the numbers of the block's queries, of `all_of_them`."""
        first = block * self._queries_a_block
        return range(first, min(first + self._queries_a_block, all_of_them))


class PairBlocks:
    """The blocks of a layout, one in memory at a time."""

    def __init__(self, layout: CandidateLayout, queries: Stage, passages: Stage) -> None:
        self._layout = layout
        self._queries = Reader(QUERIES, queries.folder)
        self._passages = PassageReader(passages.folder)
        self._held: tuple[int, PairBlock] | None = None

    def read_pairs(self, piece: JudgementPart) -> tuple[PairBlock, list[QueryPassagePair]]:
        """Return the block of a part and the part's pairs."""
        block = self._read_block(piece.block)
        return block, block.pairs[piece.start : piece.stop]

    def _read_block(self, number: int) -> PairBlock:
        if self._held is None or self._held[0] != number:
            self._held = None  # its memory first
            self._held = (number, self._read(number))
        return self._held[1]

    def _read(self, number: int) -> PairBlock:
        rows = self._layout.read_candidates(number)
        pairs = [QueryPassagePair(row["query_id"], row["passage_id"]) for row in rows]
        numbers = self._layout.number_queries(number, len(self._queries))
        queries = [self._queries[i] for i in numbers]
        return PairBlock(
            sorted(pairs, key=lambda pair: pair.passage_id),
            {row["query_id"]: row["query"] for row in queries},
            self._passages.read_texts({pair.passage_id for pair in pairs}),
        )


class CandidateTexts:
    """The texts of all candidates of a block of shards of candidates or labels, which are looked up
    once a block.

    Args:
        paths: the shards.
        shards_a_block: 1 or more; the number of shards whose texts are in memory together.
    """

    def __init__(self, passages: Stage, paths: Sequence[Path], shards_a_block: int) -> None:
        self._passages = PassageReader(passages.folder)
        self._paths = paths
        self._shards_a_block = shards_a_block
        self._block: tuple[int, dict[str, str]] = (-1, {})

    def read_shard_texts(self, number: int) -> dict[str, str]:
        """Read the texts, by passage id, of the candidates in this shard, and of the others in its
        block."""
        start = number - number % self._shards_a_block
        if self._block[0] != start:
            self._block = (-1, {})  # its memory first
            paths = self._paths[start : start + self._shards_a_block]
            columns = [pq.read_table(p, columns=["passage_id"], partitioning=None) for p in paths]
            ids = {id_ for column in columns for id_ in column["passage_id"].to_pylist()}
            self._block = (start, self._passages.read_texts(ids))
        return self._block[1]


def count_shards_a_block(rule: Relabel) -> int:
    """Return how many shards of candidates are read together."""
    return max(1, rule.block // rule.shard_size)


def read_shard_queries(queries: Reader, shard: int, shard_size: int) -> list[Row]:
    """Read the queries of one shard of candidates, labels or examples: each holds `shard_size`
    whole queries in the order of the queries' table, the last one those that are left."""
    start = shard * shard_size
    return [queries[i] for i in range(start, min(start + shard_size, len(queries)))]


def group_by_passage(pairs: Sequence[QueryPassagePair]) -> list[tuple[str, list[str]]]:
    """Group pairs that are sorted by passage: (passage id, ids of its queries)."""
    groups = groupby(pairs, key=lambda pair: pair.passage_id)
    return [(passage_id, [pair.query_id for pair in of_it]) for passage_id, of_it in groups]


def make_judgement_row(pair: QueryPassagePair, ranker: str, score: float, tokens: int) -> Row:
    """Make a row of the table of judgements."""
    return {
        "query_id": pair.query_id,
        "passage_id": pair.passage_id,
        "ranker": ranker,
        "score": score,
        "tokens": tokens,
    }
