"""Retrieve passages by all sources of the recipe: dense, BM25, or both, fused."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from distill.embed.encoder import Encoder
from distill.embed.on_workers import open_on_worker
from distill.embed.open_embedder import LocalSource, choose_needs, open_embedder, place_here
from distill.recipe import BM25, Retriever, Teacher
from distill.retrieve.bm25 import open_bm25
from distill.retrieve.corpus_index import open_dense_index, open_encoder
from distill.retrieve.exact import NO_RESULT, RowNumbers, compute_similarity
from distill.retrieve.fusion import DEPTH, fuse_reciprocal_ranks
from distill.retrieve.index import (
    QUERIES_AT_ONCE,
    choose_queries_at_once,
    compute_recall,
    is_exact,
)
from distill.retrieve.search_cache import QueryBatch, SearchCache, open_search_cache
from distill.store.run import Run
from distill.store.stage import Stage
from distill.workers.protocol import WorkerNeeds, Workers

EncoderIdentity = dict[str, str | int]


class RetrievedPassages(NamedTuple):
    """The passages retrieved for some queries."""

    rows: list[list[int]]
    """Of the corpus, best first, for each query; fewer than asked where there are no more."""
    similarity: Callable[[int, Sequence[int]], list[float]]
    """Of the query at this place with these rows, found or not."""


class RetrieverQueries(NamedTuple):
    """Queries that are embedded together, with a task each for an encoder that is told them."""

    queries: Sequence[str]
    tasks: Sequence[str]


class _CandidateSource(Protocol):
    def find(self, batches: Sequence[RetrieverQueries], k: int) -> Iterator[RetrievedPassages]: ...


def find_depth(retriever: Retriever, k: int) -> int:
    """Find how many passages each source is asked for, of which the k best are wanted."""
    fused = retriever.merge != "union" and len(retriever.sources) > 1
    return DEPTH * k if fused else k


class PassageRetriever:
    """The recipe's retriever, open over a run's passages.

    Args:
        teacher: embeds the passages, where the retriever is a query encoder in its space.
        compares: the similarity of a query and a passage is the teacher's.
        identities: of the two encoders, in the process that sent this to a worker.
    """

    def __init__(
        self,
        run: Run,
        retriever: Retriever,
        passages: Stage,
        teacher: Teacher | None = None,
        compares: bool = False,
        identities: Sequence[EncoderIdentity] | None = None,
    ) -> None:
        self._source = run.folder, retriever, passages, teacher, compares
        self._identities: list[EncoderIdentity] = []
        self._retriever = here = place_here(retriever, run.workers)
        self._dense: _Dense | None = None
        sources: dict[str, _CandidateSource] = {}
        if "dense" in retriever.sources:
            queries, documents = _open_encoders(retriever, teacher, run.workers, identities)
            self._identities = [queries.identity, documents.identity]
            sources["dense"] = self._dense = _Dense(
                run, here, passages, queries, documents, documents if compares else queries
            )
            if identities is not None:
                self._dense.search_all()
        if "bm25" in retriever.sources:
            sources["bm25"] = _BM25(run, retriever.bm25, passages)
        self._sources = {name: sources[name] for name in retriever.sources}

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (*self._source, self._identities)

    @property
    def needs(self) -> WorkerNeeds:
        """What a worker needs to search: embedders in its memory, or none for BM25 alone."""
        _, retriever, _, teacher, _ = self._source
        if self._dense is None:
            return WorkerNeeds()
        models = [choose_needs(retriever, retriever.model)]
        models += [choose_needs(teacher, str(teacher.model))] if teacher else []
        return next((needs for needs in models if needs.here), models[0])

    @property
    def queries_at_once(self) -> int:
        """How many queries are best retrieved for by one call of `find`."""
        return QUERIES_AT_ONCE if self._dense is None else self._dense.queries_at_once

    def find(self, batches: Sequence[RetrieverQueries], k: int) -> Iterator[RetrievedPassages]:
        """Retrieve the k best passages of each query, batch by batch. Their similarity is the
        cosine where `dense` is a source, else the BM25 score. What is found for a batch does not
        depend on the others, but the corpus is gone through once for all of them."""
        depth = find_depth(self._retriever, k)
        results = [of.find(batches, depth) for of in self._sources.values()]
        for of_batch in zip(*results, strict=True):
            yield self._fuse(dict(zip(self._sources, of_batch, strict=True)), k)

    def _fuse(self, results: Mapping[str, RetrievedPassages], k: int) -> RetrievedPassages:
        lists = zip(*(of.rows for of in results.values()), strict=True)
        constant = self._retriever.fusion_k
        most = k * len(self._sources) if self._retriever.merge == "union" else k
        fused = [fuse_reciprocal_ranks(of_query, constant, most) for of_query in lists]
        measure = results["dense" if "dense" in results else "bm25"]
        return RetrievedPassages(fused, measure.similarity)

    def compute_recall(self, queries: Sequence[str], tasks: Sequence[str], k: int) -> float | None:
        """Compute the share of the exact k nearest that the index finds; None if the index is
        exact."""
        if self._dense is None or is_exact(self._retriever) or not queries:
            return None
        return self._dense.compute_recall(queries, tasks, k)


def _reopen(
    folder: Path,
    retriever: Retriever,
    passages: Stage,
    teacher: Teacher | None,
    compares: bool,
    identities: Sequence[EncoderIdentity],
) -> PassageRetriever:
    """Open a retriever again in a worker: its vectors and indexes stand in the run's folder."""
    return PassageRetriever(Run(folder), retriever, passages, teacher, compares, identities)


def _open_encoders(
    retriever: Retriever,
    teacher: Teacher | None,
    workers: Workers,
    identities: Sequence[EncoderIdentity] | None,
) -> tuple[Encoder, Encoder]:
    """Open the encoders of queries and passages, which may be the same."""
    if identities is None:
        queries = open_encoder(retriever, workers)
        if teacher is None:
            return queries, queries
        return queries, open_embedder(teacher, str(teacher.model), workers)
    queries = open_on_worker(LocalSource(retriever.model, retriever), identities[0])
    if teacher is None:
        return queries, queries
    return queries, open_on_worker(LocalSource(str(teacher.model), teacher), identities[1])


class _Dense:
    def __init__(
        self,
        run: Run,
        retriever: Retriever,
        passages: Stage,
        queries: Encoder,
        documents: Encoder,
        compared: Encoder,
    ) -> None:
        self._encoder = queries
        self._compared = compared
        self._retriever = retriever
        store, self._index = open_dense_index(run, retriever, documents, passages)
        self._searches = open_search_cache(run, retriever, queries, store, self._index)
        self._store, self._vectors = store, store.vectors

    def search_all(self) -> None:
        """Search every query, also those whose results are kept: on another machine SQLite's file
        of them may not be opened."""
        self._searches = SearchCache(None, self._encoder, self._store, self._index, 0)

    @property
    def queries_at_once(self) -> int:
        return choose_queries_at_once(self._retriever, self._vectors)

    def find(self, batches: Sequence[RetrieverQueries], k: int) -> Iterator[RetrievedPassages]:
        embedded = [
            QueryBatch(queries, tasks, self._encoder.encode(queries, "query", tasks))
            for queries, tasks in batches
        ]
        results = self._searches.search_batches(embedded, k)
        for of, (_, rows) in zip(embedded, results, strict=True):
            yield self._measure(of, rows)

    def _measure(self, batch: QueryBatch, rows: RowNumbers) -> RetrievedPassages:
        queries, tasks, vectors = batch
        if self._compared is not self._encoder:
            vectors = self._compared.encode(queries, "query", tasks)

        def compute_cosines(place: int, numbers: Sequence[int]) -> list[float]:
            similarities: list[float] = compute_similarity(
                vectors[place], self._vectors[list(numbers)]
            ).tolist()
            return similarities

        return RetrievedPassages(_convert_to_lists(rows), compute_cosines)

    def compute_recall(self, queries: Sequence[str], tasks: Sequence[str], k: int) -> float:
        vectors = self._encoder.encode(queries, "query", tasks)
        return compute_recall(self._index, self._vectors, vectors, k, self._retriever.device)


class _BM25:
    def __init__(self, run: Run, settings: BM25, passages: Stage) -> None:
        self._index = open_bm25(run, passages, settings)

    def find(self, batches: Sequence[RetrieverQueries], k: int) -> Iterator[RetrievedPassages]:
        for queries, _ in batches:
            yield self._find(queries, k)

    def _find(self, queries: Sequence[str], k: int) -> RetrievedPassages:
        _, rows = self._index.search(queries, k)

        def get_scores(place: int, numbers: Sequence[int]) -> list[float]:
            similarities: list[float] = self._index.score(queries[place])[list(numbers)].tolist()
            return similarities

        return RetrievedPassages(_convert_to_lists(rows), get_scores)


def _convert_to_lists(rows: RowNumbers) -> list[list[int]]:
    return [[int(row) for row in of_query if row != NO_RESULT] for of_query in rows]
