"""Round-trip consistency: whether a query leads back to the passage that it was written for
(Promptagator, section 3.2), and whether it is similar to it at all (Qwen3-Embedding, section 3.3).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.embed.on_workers import open_on_worker
from distill.embed.open_embedder import LocalSource, choose_needs, place_here
from distill.generate.filters.candidate import Filter, GeneratedQuery, SeedRank
from distill.recipe import Retriever
from distill.retrieve.corpus_index import open_dense_index, open_encoder
from distill.retrieve.exact import compute_similarity
from distill.retrieve.index import choose_queries_at_once
from distill.retrieve.search_cache import QueryBatch, SearchCache, open_search_cache
from distill.store.run import Run
from distill.store.stage import Stage


class SeedSearch:
    """Looks for the seed passages of queries among their first `depth` passages by the dense index,
    whatever other sources the retriever has. Queries are embedded as relabelling does.

    Args:
        keeps: how many passages relabelling will look for, which are kept for it.
        identity: of the encoder, in the process that sent this to a worker. There all is searched,
            for SQLite's file of what was found is for processes of one machine.
    """

    def __init__(
        self,
        run: Run,
        retriever: Retriever,
        passages: Stage,
        depth: int,
        keeps: int = 0,
        identity: dict[str, str | int] | None = None,
    ) -> None:
        self._source = run.folder, retriever, passages, depth
        self.needs = choose_needs(retriever, retriever.model)
        self._encoder = (
            open_encoder(retriever, run.workers)
            if identity is None
            else open_on_worker(LocalSource(retriever.model, retriever), identity)
        )
        retriever = place_here(retriever, run.workers)
        store, index = open_dense_index(run, retriever, self._encoder, passages)
        self._searches = (
            open_search_cache(run, retriever, self._encoder, store, index, keeps)
            if identity is None
            else SearchCache(None, self._encoder, store, index, 0)
        )
        self._vectors = store.vectors
        self._depth = depth
        self.queries_at_once = choose_queries_at_once(retriever, store.vectors)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (*self._source, self._encoder.identity)

    def search(self, *batches: Sequence[GeneratedQuery]) -> None:
        """Set `retrieved` of each draw with a seed passage; those of a batch are embedded
        together."""
        seeded = [[draw for draw in draws if draw.has_seed] for draws in batches]
        seeded = [draws for draws in seeded if draws]
        embedded = [self._embed(draws) for draws in seeded]
        results = self._searches.search_batches(embedded, self._depth)
        for draws, batch, (_, rows) in zip(seeded, embedded, results, strict=True):
            for draw, query, numbers in zip(draws, batch.vectors, rows, strict=True):
                at = np.flatnonzero(numbers == draw.number)
                cosine = compute_similarity(query, self._vectors[draw.number : draw.number + 1])[0]
                draw.retrieved = SeedRank(int(at[0]) + 1 if len(at) else None, float(cosine))

    def _embed(self, draws: Sequence[GeneratedQuery]) -> QueryBatch:
        tasks = [draw.row["task"] for draw in draws]
        texts = [draw.query for draw in draws]
        return QueryBatch(texts, tasks, self._encoder.encode(texts, "query", tasks))


def _reopen(
    folder: Path,
    retriever: Retriever,
    passages: Stage,
    depth: int,
    identity: dict[str, str | int],
) -> SeedSearch:
    """Open a search again in a worker: its vectors and indexes stand in the run's folder."""
    return SeedSearch(Run(folder), retriever, passages, depth, 0, identity)


def make_round_trip_filter(depth: int) -> Filter:
    """Make a filter that drops a query whose seed passage is not among its first `depth`."""

    def find_reason(draw: GeneratedQuery) -> str | None:
        if not draw.has_seed:
            return None
        rank = draw.retrieved.rank if draw.retrieved else None
        return "round trip" if rank is None or rank > depth else None

    return find_reason


def make_similarity_filter(least: float) -> Filter:
    """Make a filter that drops a query less similar than this to its seed passage."""

    def find_reason(draw: GeneratedQuery) -> str | None:
        if not draw.has_seed:
            return None
        near = draw.retrieved is not None and draw.retrieved.similarity >= least
        return None if near else "dissimilar to its passage"

    return find_reason
