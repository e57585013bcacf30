"""Retrieve passages by all sources of the recipe: dense, BM25, or both, fused."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from distill.recipe import BM25, RetrievalSource, Retriever, Teacher
from distill.retrieve.bm25 import open_bm25
from distill.retrieve.dense.dense_search import open_dense_search
from distill.retrieve.dense.part_work import QueryBatches
from distill.retrieve.dense.search_cache import RetrieverQueries
from distill.retrieve.exact import NO_RESULT, RowNumbers
from distill.retrieve.fusion import DEPTH, fuse_reciprocal_ranks
from distill.retrieve.index import QUERIES_AT_ONCE
from distill.store.run import Run
from distill.store.sqlite.table import SqlRow
from distill.store.stage import Stage
from distill.workers.protocol import WorkerNeeds


class RetrievedPassages(NamedTuple):
    """The passages retrieved for some queries."""

    rows: list[list[int]]
    """Of the corpus, best first, for each query; fewer than asked where there are no more."""
    similarity: Callable[[int, Sequence[int]], list[float]]
    """Of the query at this place with these rows, found or not."""


def find_depth(
    retriever: Retriever, k: int, sources: Sequence[RetrievalSource] | None = None
) -> int:
    """Find how many passages each of the sources, by default all of the retriever's, is asked for,
    of which the k best are wanted."""
    fused = retriever.merge != "union" and len(sources or retriever.sources) > 1
    return DEPTH * k if fused else k


class PassageRetriever:
    """The recipe's retriever, open over a run's passages. It can be sent to workers.

    Args:
        teacher: embeds the passages, where the retriever is a query encoder in its space.
        compares: the similarity of a query and a passage is the teacher's.
        sources: those of the retriever's that are searched; None: all of them.
        keeps: for how many passages a query is searched later, too, which is kept for then.
    """

    def __init__(
        self,
        run: Run,
        retriever: Retriever,
        passages: Stage,
        teacher: Teacher | None = None,
        compares: bool = False,
        sources: Sequence[RetrievalSource] | None = None,
        keeps: int = 0,
    ) -> None:
        self._retriever = retriever
        self._sources = sources or retriever.sources
        self._dense = (
            open_dense_search(run, retriever, passages, teacher, compares, keeps)
            if "dense" in self._sources
            else None
        )
        self._bm25 = _BM25(run, retriever.bm25, passages) if "bm25" in self._sources else None

    @property
    def needs(self) -> WorkerNeeds:
        """What a worker needs to search: embedders in its memory, or none for BM25 alone."""
        return WorkerNeeds() if self._dense is None else self._dense.needs

    @property
    def queries_at_once(self) -> int:
        """How many queries are best retrieved for by one call of `find`."""
        return QUERIES_AT_ONCE if self._dense is None else self._dense.queries_at_once

    def prepare(self, stage: Stage, batches: QueryBatches, k: int) -> AbstractContextManager[None]:
        """Prepare to retrieve for all queries of a stage (see `DenseSearch.prepare`)."""
        if self._dense is None:
            return nullcontext()
        depth = find_depth(self._retriever, k, self._sources)
        return self._dense.prepare(stage, batches, depth)

    def find(self, batches: Sequence[RetrieverQueries], k: int) -> Iterator[RetrievedPassages]:
        """Retrieve the k best passages of each query, batch by batch. Their similarity is the
        cosine where `dense` is a source, else the BM25 score. What is found for a batch does not
        depend on the others, but the corpus is gone through once for all of them."""
        depth = find_depth(self._retriever, k, self._sources)
        results = {name: self._find_by(name, batches, depth) for name in self._sources}
        for of_batch in zip(*results.values(), strict=True):
            yield self._fuse(dict(zip(results, of_batch, strict=True)), k)

    def compute_recall(self, batch: RetrieverQueries, k: int) -> float | None:
        """Compute the share of the exact k nearest that the index finds; None if the index is
        exact."""
        return None if self._dense is None else self._dense.compute_recall(batch, k)

    def take_new_searches(self) -> list[SqlRow]:
        """Return what a worker has found by vectors, which the process that writes the run
        keeps."""
        return [] if self._dense is None else self._dense.take_new_searches()

    def keep_searches(self, rows: Sequence[SqlRow]) -> None:
        """Keep what a worker has found by vectors."""
        if self._dense is not None:
            self._dense.keep_searches(rows)

    def _find_by(
        self, source: str, batches: Sequence[RetrieverQueries], k: int
    ) -> Iterator[RetrievedPassages]:
        if source == "bm25" and self._bm25 is not None:
            yield from self._bm25.find(batches, k)
        elif self._dense is not None:
            for batch, found in zip(batches, self._dense.search(batches, k), strict=True):
                compare = self._dense.compute_similarities(batch, found)
                yield RetrievedPassages(_convert_to_lists(found.rows), compare)

    def _fuse(self, results: Mapping[str, RetrievedPassages], k: int) -> RetrievedPassages:
        if len(results) == 1:
            return next(iter(results.values()))
        lists = zip(*(of.rows for of in results.values()), strict=True)
        constant = self._retriever.fusion_k
        most = k * len(results) if self._retriever.merge == "union" else k
        fused = [fuse_reciprocal_ranks(of_query, constant, most) for of_query in lists]
        measure = results["dense" if "dense" in results else "bm25"]
        return RetrievedPassages(fused, measure.similarity)


class _BM25:
    def __init__(self, run: Run, settings: BM25, passages: Stage) -> None:
        self._index = open_bm25(run, passages, settings)

    def find(self, batches: Sequence[RetrieverQueries], k: int) -> Iterator[RetrievedPassages]:
        for batch in batches:
            yield self._find(batch.queries, k)

    def _find(self, queries: Sequence[str], k: int) -> RetrievedPassages:
        _, rows = self._index.search(queries, k)

        def get_scores(place: int, numbers: Sequence[int]) -> list[float]:
            similarities: list[float] = self._index.score_rows(queries[place], numbers).tolist()
            return similarities

        return RetrievedPassages(_convert_to_lists(rows), get_scores)


def _convert_to_lists(rows: RowNumbers) -> list[list[int]]:
    return [[int(row) for row in of_query if row != NO_RESULT] for of_query in rows]
