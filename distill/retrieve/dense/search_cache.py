"""A cache of what exact search has found for the queries of a run: a query that was searched once,
by a filter of generation or by relabelling, is not searched again.

A query's vector differs in its last digits with the batch that it is embedded in, so what is kept
only proposes, as an index does (see `exact`): its rows are scored again by the query's own vector,
and where that leaves a doubt the query is searched after all. Results are those of a search, byte
for byte.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from distill.embed.encoder import Encoder, Vectors
from distill.embed.vectors.vector_store import VectorStore
from distill.recipe import Retriever
from distill.retrieve.exact import (
    CERTAIN_DISTANCE,
    MARGIN,
    NO_RESULT,
    RowNumbers,
    SearchIndex,
    compute_similarity,
    rescore,
)
from distill.retrieve.index import is_exact
from distill.store.run import Run
from distill.store.sqlite.shared_copy import share_rows
from distill.store.sqlite.table import FrozenTable, SqliteTable, SqlRow, SqlSchema
from distill.store.stage import Stage, fingerprint

_MIN_PASSAGES = 20_000
"""Among fewer passages a search takes no longer than to look it up."""
_MOST_DRIFT = 1e-5
"""Between two vectors of one query, in any similarity; a larger one is of another query."""


class _Proposal(NamedTuple):
    """Some rows of the corpus, best first, and their similarities with a query: no other row is
    better than the last."""

    scores: Vectors
    rows: RowNumbers


class CachedResults(NamedTuple):
    """Scores and rows, (queries, k), of those queries that are `known`, (queries,), and the key of
    each."""

    scores: Vectors
    rows: RowNumbers
    known: NDArray[np.bool_]
    keys: list[bytes]


class _Table(Protocol):
    def find(self, keys: Iterable[bytes]) -> dict[bytes, SqlRow]: ...

    def add(self, rows: Iterable[SqlRow]) -> None: ...


class WorkerTable:
    """The searches that a worker knows, from a copy of the run's (None: none), and the new ones,
    which it sends to the process that writes the run: SQLite is for processes of one machine."""

    def __init__(self, copy: Path | None) -> None:
        self._copy = None if copy is None else FrozenTable(copy, _SEARCHES)
        self._new: list[SqlRow] = []

    def find(self, keys: Iterable[bytes]) -> dict[bytes, SqlRow]:
        """Find the searches of these keys in the copy."""
        return {} if self._copy is None else self._copy.find(keys)

    def add(self, rows: Iterable[SqlRow]) -> None:
        """Note new searches."""
        self._new += rows

    def take_new(self) -> list[SqlRow]:
        """Return the new searches since the last call."""
        new, self._new = self._new, []
        return new


class RetrieverQueries(NamedTuple):
    """Queries that are embedded together, with a task each for an encoder that is told them.

    Args:
        number: of the batch, where all batches were searched in advance (see `by_parts`).
    """

    queries: Sequence[str]
    tasks: Sequence[str]
    number: int | None = None


class QueryBatch(NamedTuple):
    """Queries that were embedded together, (queries, dimensions), under their tasks."""

    queries: Sequence[str]
    tasks: Sequence[str]
    vectors: Vectors


class SearchCache:
    """The searches for the queries of one encoder among one corpus. A worker that it is sent to
    knows those of the `copy`.

    Args:
        table: where they are kept; None: nowhere.
        store: names the corpus' vectors by their content.
        keeps: for how many passages a query the results are kept; 0: only what is there is used.
    """

    def __init__(self, table: _Table | None, store: str, keeps: int = 0) -> None:
        self._table = table
        self._store = store
        self._keeps = keeps
        self._copy: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_in_worker, (self.is_used, self._store, self._keeps, self._copy)

    @property
    def is_used(self) -> bool:
        """Whether there is something to look up, or to keep."""
        return self._table is not None

    def choose_depth(self, k: int) -> int:
        """Choose how many rows to search for, where k are wanted."""
        return max(k, self._keeps + MARGIN) if self._keeps else k

    def find(self, encoder: Encoder, passages: Vectors, batch: QueryBatch, k: int) -> CachedResults:
        """Find the k best rows of the queries that are known for certain.

        Args:
            encoder: of the queries.
            passages: the corpus' vectors, (passages, dimensions).
        """
        k = min(k, len(passages))
        scores = np.full((len(batch.queries), k), -np.inf, np.float32)
        rows = np.full((len(batch.queries), k), NO_RESULT, np.int64)
        known = np.zeros(len(batch.queries), np.bool_)
        if self._table is None:
            return CachedResults(scores, rows, known, [b""] * len(known))
        keys = self._make_keys(encoder, batch)
        cached = self._table.find(keys)
        for place, key in enumerate(keys):
            if key in cached:
                best = _rank(_read_row(cached[key]), batch.vectors[place], passages, k)
                if best is not None:
                    scores[place], rows[place], known[place] = *best, True
        return CachedResults(scores, rows, known, keys)

    def search(
        self,
        index: SearchIndex,
        encoder: Encoder,
        passages: Vectors,
        batches: Sequence[QueryBatch],
        k: int,
    ) -> list[tuple[Vectors, RowNumbers]]:
        """Find the k best rows of each query of some batches, scores and rows, as `index.search`
        does, and keep what was not known. The corpus is gone through once for all of them: what a
        query finds in an exact index does not depend on the others."""
        found = [self.find(encoder, passages, batch, k) for batch in batches]
        unknown = [(of, place) for of in found for place in np.flatnonzero(~of.known).tolist()]
        if unknown:
            several = zip(batches, found, strict=True)
            vectors = np.concatenate([batch.vectors[~of.known] for batch, of in several])
            scores, rows = index.search(vectors, self.choose_depth(k))
            for number, (of, place) in enumerate(unknown):
                of.scores[place] = scores[number, : of.scores.shape[1]]
                of.rows[place] = rows[number, : of.rows.shape[1]]
            self.keep([of.keys[place] for of, place in unknown], scores, rows)
        return [(of.scores, of.rows) for of in found]

    def keep(self, keys: Sequence[bytes], scores: Vectors, rows: RowNumbers) -> None:
        """Keep the results of searches, if this is to be kept: (queries, `choose_depth`)."""
        if self._table is not None and self._keeps:
            self._table.add(_make_row(*one) for one in zip(keys, scores, rows, strict=True))

    def keep_rows(self, rows: Sequence[SqlRow]) -> None:
        """Keep what a worker has sent (see `take_new`)."""
        if self._table is not None and rows:
            self._table.add(rows)

    def take_new(self) -> list[SqlRow]:
        """Return what a worker has to send; nothing in the process that keeps it."""
        return self._table.take_new() if isinstance(self._table, WorkerTable) else []

    @contextmanager
    def share_copy(self, stage: Stage) -> Iterator[None]:
        """Have a copy for workers on other machines while a stage is made."""
        table = self._table if isinstance(self._table, SqliteTable) else None
        copy = stage.metadata_dir / "searched-before.sqlite"
        with share_rows(table, copy, stage.workers) as shared:
            if stage.workers.reads_only:
                self._table = None if shared is None else WorkerTable(shared)
            self._copy = shared
            yield

    def _make_keys(self, encoder: Encoder, batch: QueryBatch) -> list[bytes]:
        mark = fingerprint("searches", {"queries": encoder.identity}, {"in": self._store})
        texts = encoder.wording.write(batch.queries, "query", batch.tasks)
        return [
            hashlib.blake2b(f"{mark} {text}".encode(), digest_size=16).digest() for text in texts
        ]


def open_search_cache(
    run: Run, retriever: Retriever, store: VectorStore, keeps: int
) -> SearchCache:
    """Open the searches of a run. Those of an approximate index are not kept: it may find other
    rows for another last digit.

    Args:
        store: the passages' vectors.
        keeps: as in `SearchCache`.
    """
    path = run.folder / "searches.sqlite"
    worthwhile = is_exact(retriever) and len(store.vectors) >= _MIN_PASSAGES
    alone = not run.workers.reads_only  # SQLite is for processes of one machine
    used = worthwhile and alone and (keeps > 0 or path.exists())
    table = SqliteTable(path, _SEARCHES) if used else None
    return SearchCache(table, store.folder.name, keeps if worthwhile else 0)


def _open_in_worker(used: bool, store: str, keeps: int, copy: Path | None) -> SearchCache:
    return SearchCache(WorkerTable(copy) if used else None, store, keeps)


def _rank(
    proposal: _Proposal, query: Vectors, passages: Vectors, k: int
) -> tuple[Vectors, RowNumbers] | None:
    """Rank a proposal's rows by a query's vector; None where they need not be the best."""
    if len(proposal.rows) < k or proposal.rows.max(initial=0) >= len(passages):
        return None
    exact = compute_similarity(query, passages[proposal.rows])
    if np.abs(exact - proposal.scores).max() > _MOST_DRIFT:
        return None
    best, rows = rescore(query, passages, proposal.rows, k)
    whole = len(proposal.rows) == len(passages)
    return (best, rows) if whole or best[-1] - CERTAIN_DISTANCE > proposal.scores[-1] else None


def _make_row(key: bytes, scores: Vectors, rows: RowNumbers) -> SqlRow:
    content = (scores.astype("<f4").tobytes(), rows.astype("<i4").tobytes())
    return (key, *content, _compute_checksum(key, *content))


def _read_row(row: SqlRow) -> _Proposal:
    scores, rows = np.frombuffer(row[1], "<f4"), np.frombuffer(row[2], "<i4")
    return _Proposal(scores.astype(np.float32), rows.astype(np.int64))


def _is_whole(row: SqlRow) -> bool:
    key, scores, rows, checksum = row
    return isinstance(scores, bytes) and checksum == _compute_checksum(key, scores, rows)


def _compute_checksum(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=8).digest()


_SEARCHES = SqlSchema(
    holds="searches",
    again="made",
    table="searches",
    create="CREATE TABLE IF NOT EXISTS searches (key BLOB PRIMARY KEY, scores BLOB NOT NULL, "
    "passages BLOB NOT NULL, checksum BLOB NOT NULL) WITHOUT ROWID",
    columns=("key", "scores", "passages", "checksum"),
    is_whole=_is_whole,
    on_conflict="DO UPDATE SET scores = excluded.scores, passages = excluded.passages, "
    "checksum = excluded.checksum",
)
