"""A cache of what exact search has found for the queries of a run: a query that was searched once,
by a filter of generation or by relabelling, is not searched again.

A query's vector differs in its last digits with the batch that it is embedded in, so what is kept
only proposes, as an index does (see `exact`): its rows are scored again by the query's own vector,
and where that leaves a doubt the query is searched after all. Results are those of a search, byte
for byte.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from distill.embed.encoder import Encoder, Vectors
from distill.embed.vector_store import VectorStore
from distill.recipe import Retriever
from distill.retrieve.exact import (
    CERTAIN_DISTANCE,
    MARGIN,
    RowNumbers,
    SearchIndex,
    compute_similarity,
    rescore,
)
from distill.retrieve.faiss_index import ApproximateIndex
from distill.retrieve.index import is_exact
from distill.store.run import Run
from distill.store.sqlite.table import SqliteTable, SqlRow, SqlSchema
from distill.store.stage import fingerprint

_MIN_PASSAGES = 20_000
"""Among fewer passages a search takes no longer than to look it up."""
_MOST_DRIFT = 1e-5
"""Between two vectors of one query, in any similarity; a larger one is of another query."""


class _Proposal(NamedTuple):
    """Some rows of the corpus, best first, and their similarities with a query: no other row is
    better than the last."""

    scores: Vectors
    rows: RowNumbers


class QueryBatch(NamedTuple):
    """Queries that were embedded together, (queries, dimensions), under their tasks."""

    queries: Sequence[str]
    tasks: Sequence[str]
    vectors: Vectors


class SearchCache:
    """Search for the queries of one encoder among one corpus, each once.

    Args:
        path: the file of SQLite where they are kept; None: nowhere.
        keeps: for how many passages a query the results are kept; 0: only what is there is used.
    """

    def __init__(
        self,
        path: Path | None,
        encoder: Encoder,
        store: VectorStore,
        index: SearchIndex,
        keeps: int,
    ) -> None:
        self._encoder, self._index, self._vectors = encoder, index, store.vectors
        self._mark = fingerprint(
            "searches", {"queries": encoder.identity}, {"in": store.folder.name}
        )
        self._keeps = keeps
        self._table = None if path is None else SqliteTable(path, _SEARCHES)

    def search_batches(
        self, batches: Sequence[QueryBatch], k: int
    ) -> list[tuple[Vectors, RowNumbers]]:
        """Find the k best rows of each query of some batches, as `search` does for each of them,
        but go through the corpus, or load the parts of its index, once for all of them. What a
        query finds in an exact index does not depend on the others."""
        if isinstance(self._index, ApproximateIndex):
            return self._index.search_batches([batch.vectors for batch in batches], k)
        if len(batches) < 2:
            return [self.search(*batch, k) for batch in batches]
        queries = [query for batch in batches for query in batch.queries]
        tasks = [task for batch in batches for task in batch.tasks]
        vectors = np.concatenate([batch.vectors for batch in batches])
        scores, rows = self.search(queries, tasks, vectors, k)
        ends = np.cumsum([len(batch.queries) for batch in batches])[:-1]
        return [*zip(np.split(scores, ends), np.split(rows, ends), strict=True)]

    def search(
        self, queries: Sequence[str], tasks: Sequence[str], vectors: Vectors, k: int
    ) -> tuple[Vectors, RowNumbers]:
        """Find the k best rows of each query, as `SearchIndex.search` does.

        Args:
            vectors: (queries, dimensions) of the queries under their tasks.
        """
        if self._table is None:
            return self._index.search(vectors, k)
        k = min(k, len(self._vectors))
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        keys = self._make_keys(queries, tasks)
        known = self._table.find(keys)
        unknown = []
        for place, key in enumerate(keys):
            best = self._rank(known[key], vectors[place], k) if key in known else None
            if best is None:
                unknown.append(place)
            else:
                scores[place], rows[place] = best
        if unknown:
            depth = max(k, self._keeps + MARGIN) if self._keeps else k
            results = self._index.search(vectors[unknown], depth)
            scores[unknown], rows[unknown] = results[0][:, :k], results[1][:, :k]
            if self._keeps:
                kept = [keys[place] for place in unknown]
                self._table.add(_make_row(*one) for one in zip(kept, *results, strict=True))
        return scores, rows

    def _make_keys(self, queries: Sequence[str], tasks: Sequence[str]) -> list[bytes]:
        texts = self._encoder.wording.write(queries, "query", tasks)
        return [
            hashlib.blake2b(f"{self._mark} {text}".encode(), digest_size=16).digest()
            for text in texts
        ]

    def _rank(self, row: SqlRow, query: Vectors, k: int) -> tuple[Vectors, RowNumbers] | None:
        """Rank a proposal's rows by a query's vector; None where they need not be the best."""
        proposal = _read_row(row)
        if len(proposal.rows) < k or proposal.rows.max(initial=0) >= len(self._vectors):
            return None
        exact = compute_similarity(query, self._vectors[proposal.rows])
        if np.abs(exact - proposal.scores).max() > _MOST_DRIFT:
            return None
        best, rows = rescore(query, self._vectors, proposal.rows, k)
        whole = len(proposal.rows) == len(self._vectors)
        return (best, rows) if whole or best[-1] - CERTAIN_DISTANCE > proposal.scores[-1] else None


def open_search_cache(
    run: Run,
    retriever: Retriever,
    encoder: Encoder,
    store: VectorStore,
    index: SearchIndex,
    keeps: int = 0,
) -> SearchCache:
    """Open the searches of a run. Those of an approximate index are not kept: it may find other
    rows for another last digit.

    Args:
        encoder: of the queries.
        store: the passages' vectors, which the index is of.
        keeps: as `SearchCache` has it.
    """
    path = run.folder / "searches.sqlite"
    worthwhile = is_exact(retriever) and len(store.vectors) >= _MIN_PASSAGES
    alone = not run.workers.reads_only  # SQLite is for processes of one machine
    known = worthwhile and alone and (keeps > 0 or path.exists())
    return SearchCache(path if known else None, encoder, store, index, keeps)


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
