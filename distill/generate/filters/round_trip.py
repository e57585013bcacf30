"""Round-trip consistency: whether a query leads back to the passage that it was written for
(Promptagator, section 3.2), and whether it is similar to it at all (Qwen3-Embedding, section 3.3).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from distill.generate.filters.candidate import Filter, GeneratedQuery, SeedRank
from distill.recipe import RetrievalSource, Retriever, RoundTripBy
from distill.retrieve.dense.part_work import QueryBatches
from distill.retrieve.dense.search_cache import RetrieverQueries
from distill.retrieve.retriever import PassageRetriever
from distill.store.run import Run
from distill.store.sqlite.table import SqlRow
from distill.store.stage import Stage
from distill.workers.protocol import WorkerNeeds


class SeedSearch:
    """Looks for the seed passages of queries among their first `depth` passages, by the dense index
    or by all sources of the retriever. Queries are embedded as relabelling does. It can be sent to
    workers.

    Args:
        keeps: how many passages relabelling will look for, which are kept for it.
        by: what searches, as in `generate.filters.round_trip_by`.
    """

    def __init__(
        self,
        run: Run,
        retriever: Retriever,
        passages: Stage,
        depth: int,
        keeps: int = 0,
        by: RoundTripBy = "dense",
    ) -> None:
        sources = list_sources(retriever, by)
        self._searcher = PassageRetriever(run, retriever, passages, sources=sources, keeps=keeps)
        self._depth = depth

    @property
    def needs(self) -> WorkerNeeds:
        """What a worker needs to search."""
        return self._searcher.needs

    @property
    def queries_at_once(self) -> int:
        """For how many queries the vectors are best gone through once."""
        return self._searcher.queries_at_once

    def prepare(self, stage: Stage, batches: QueryBatches) -> AbstractContextManager[None]:
        """Prepare the search for all draws of a stage (see `DenseSearch.prepare`)."""
        return self._searcher.prepare(stage, batches, self._depth)

    def search(self, *batches: "DrawBatch") -> None:
        """Set `retrieved` of each draw with a seed passage; those of a batch are embedded
        together."""
        seeded = [DrawBatch([d for d in of.draws if d.has_seed], of.number) for of in batches]
        seeded = [batch for batch in seeded if batch.draws]
        results = self._searcher.find([batch.make_queries() for batch in seeded], self._depth)
        for batch, found in zip(seeded, results, strict=True):
            for place, (draw, rows) in enumerate(zip(batch.draws, found.rows, strict=True)):
                rank = rows.index(draw.number) + 1 if draw.number in rows else None
                [similarity] = found.similarity(place, [draw.number])
                other = next((row for row in rows if row != draw.number), None)
                draw.retrieved = SeedRank(rank, similarity, other)

    def take_new_searches(self) -> list[SqlRow]:
        """Return what a worker has found, which the process that writes the run keeps."""
        return self._searcher.take_new_searches()

    def keep_searches(self, rows: Sequence[SqlRow]) -> None:
        """Keep what a worker has found, for relabelling."""
        self._searcher.keep_searches(rows)


def list_sources(retriever: Retriever, by: RoundTripBy) -> list[RetrievalSource]:
    """List the sources that search for seed passages."""
    return ["dense"] if by == "dense" else retriever.sources


class DrawBatch(NamedTuple):
    """Draws that are embedded together, of the shard with this number."""

    draws: Sequence[GeneratedQuery]
    number: int | None = None

    def make_queries(self) -> RetrieverQueries:
        """Make the queries that are searched for."""
        tasks = [draw.row["task"] for draw in self.draws]
        return RetrieverQueries([draw.query for draw in self.draws], tasks, self.number)


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
