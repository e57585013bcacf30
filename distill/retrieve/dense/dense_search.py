"""Search by the vectors of a run's passages: in the process that writes the run, in workers that it
is sent to, and part by part where the corpus is larger than a machine's memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from distill.embed.encoder import Encoder, EncoderIdentity, Vectors
from distill.embed.local import LocalEmbedder
from distill.embed.on_workers import open_on_worker
from distill.embed.open_embedder import LocalSource, choose_needs, open_embedder, place_here
from distill.embed.vectors.vector_store import VectorStore, open_vectors
from distill.models.sentence_transformer import release_documents
from distill.recipe import Retriever, Teacher
from distill.retrieve.corpus_index import open_dense_index, open_encoder
from distill.retrieve.dense.by_parts import (
    FinishedSearch,
    FoundRows,
    search_by_parts,
)
from distill.retrieve.dense.part_work import PartedSearch, QueryBatches
from distill.retrieve.dense.search_cache import (
    QueryBatch,
    RetrieverQueries,
    SearchCache,
    open_search_cache,
)
from distill.retrieve.exact import SearchIndex, compute_similarity
from distill.retrieve.faiss_index import ApproximateIndex
from distill.retrieve.index import (
    choose_queries_at_once,
    compute_parts,
    compute_recall,
    is_exact,
    make_index,
)
from distill.store.run import Run
from distill.store.sqlite.table import SqlRow
from distill.store.stage import Stage, fingerprint
from distill.workers.protocol import WorkerNeeds


class _Encoders(NamedTuple):
    """The encoder whose vectors of queries are searched with, and that which compares queries and
    passages."""

    searching: Encoder
    comparing: Encoder


class DenseSearch:
    """Search among a run's passages by their vectors.

    Args:
        retriever: its model embeds queries.
        comparing: the teacher, where it compares queries and passages, and not the retriever.
        here: the retriever's settings as this process follows them.
        vectors: folder of the passages' vectors.
        open_encoders: called when an encoder is needed first.
        cache: of searches.
    """

    def __init__(
        self,
        retriever: Retriever,
        comparing: Teacher | None,
        here: Retriever,
        vectors: Path,
        open_encoders: Callable[[], _Encoders],
        cache: SearchCache,
    ) -> None:
        self._retriever, self._comparing, self._here = retriever, comparing, here
        self._folder = vectors
        self._vectors = open_vectors(vectors)
        self._open_encoders = open_encoders
        self._cache = cache
        self._finished: FinishedSearch | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        identities = [encoder.identity for encoder in self._encoders]
        sent = self._retriever, self._comparing, self._folder, identities
        return _reopen, (*sent, self._cache, self._finished)

    @cached_property
    def _encoders(self) -> _Encoders:
        return self._open_encoders()

    @cached_property
    def _index(self) -> SearchIndex:
        return make_index(self._here, VectorStore([], self._vectors, self._folder))

    @property
    def needs(self) -> WorkerNeeds:
        """What a worker needs for `search` and `compute_similarities`."""
        models = [] if self._finished else [choose_needs(self._retriever, self._retriever.model)]
        if self._comparing is not None:
            models.append(choose_needs(self._comparing, str(self._comparing.model)))
        return next((needs for needs in models if needs.here), [*models, WorkerNeeds()][0])

    @property
    def queries_at_once(self) -> int:
        """For how many queries the vectors are best gone through once."""
        return choose_queries_at_once(self._retriever, self._vectors)

    @contextmanager
    def prepare(self, stage: Stage, batches: QueryBatches, k: int) -> Iterator[None]:
        """Prepare the search for all queries of a stage: where the corpus is larger than a
        machine's memory, search it now, part by part. Its batches are searched by number then.
        """
        parts = compute_parts(self._retriever, self._vectors)
        with self._cache.share_copy(stage):
            if len(parts) > 1:
                depth = min(self._cache.choose_depth(k), len(self._vectors))
                layout: dict[str, Any] = {"parts": parts, "vectors": self._folder.name}
                layout |= {"together": batches.together, "k": k, "depth": depth}
                mark = fingerprint("search", layout, {stage.name: stage.fingerprint})
                search = PartedSearch(
                    stage.metadata_dir / "search" / mark,
                    self._folder,
                    self._retriever,
                    batches.opens,
                    batches.number,
                    batches.together,
                    k,
                    depth,
                )
                encoder = self._encoders.searching
                self._finished = search_by_parts(stage, search, encoder, self._cache, batches.size)
            yield
        if self._finished is not None:
            self._finished.remove_files()

    def search(self, batches: Sequence[RetrieverQueries], k: int) -> list[FoundRows]:
        """Find the k best rows of each query of some batches, each of which is embedded by itself.
        The vectors are gone through once for all of them."""
        if self._finished is not None:
            found = [self._finished.read(int(batch.number or 0)) for batch in batches]
            return [FoundRows(of.vectors, of.scores[:, :k], of.rows[:, :k]) for of in found]
        embedded = [self._embed(batch) for batch in batches]
        if isinstance(self._index, ApproximateIndex):
            results = self._index.search_batches([batch.vectors for batch in embedded], k)
        else:
            encoder = self._encoders.searching
            results = self._cache.search(self._index, encoder, self._vectors, embedded, k)
        return [FoundRows(batch.vectors, *of) for batch, of in zip(embedded, results, strict=True)]

    def compute_similarities(self, batch: RetrieverQueries, found: FoundRows) -> "Similarities":
        """Compute similarities of a batch's queries with passages, found or not."""
        if self._comparing is None:
            return Similarities(found.vectors, self._vectors)
        vectors = self._encoders.comparing.encode(batch.queries, "query", batch.tasks)
        return Similarities(vectors, self._vectors)

    def compute_recall(self, batch: RetrieverQueries, k: int) -> float | None:
        """Compute the share of the exact k nearest that the index finds; None if the index is
        exact."""
        if is_exact(self._retriever) or not batch.queries:
            return None
        vectors = self._embed(batch).vectors
        return compute_recall(self._index, self._vectors, vectors, k, self._here.device)

    def take_new_searches(self) -> list[SqlRow]:
        """Return what a worker has found, which the process that writes the run keeps."""
        return self._cache.take_new()

    def keep_searches(self, rows: Sequence[SqlRow]) -> None:
        """Keep what a worker has found."""
        self._cache.keep_rows(rows)

    def _embed(self, batch: RetrieverQueries) -> QueryBatch:
        queries, tasks, _ = batch
        return QueryBatch(queries, tasks, self._encoders.searching.encode(queries, "query", tasks))


class Similarities:
    """The similarities of some queries, (queries, dimensions), with a corpus' passages."""

    def __init__(self, queries: Vectors, passages: Vectors) -> None:
        self._queries, self._passages = queries, passages

    def __call__(self, query: int, rows: Sequence[int]) -> list[float]:
        """Compute those of the query at this place with these rows."""
        similarities: list[float] = compute_similarity(
            self._queries[query], self._passages[list(rows)]
        ).tolist()
        return similarities


def open_dense_search(
    run: Run,
    retriever: Retriever,
    passages: Stage,
    teacher: Teacher | None = None,
    compares: bool = False,
    keeps: int = 0,
) -> DenseSearch:
    """Open the search in the process that writes the run, or that computes a share of it; passages
    are embedded if they are not yet.

    Args:
        teacher: embeds the passages, where the retriever is a query encoder in its space.
        compares: the similarity of a query and a passage is the teacher's.
        keeps: for how many passages a query is searched later, too, which is kept for then.
    """
    here = place_here(retriever, run.workers)
    queries = open_encoder(retriever, run.workers)
    if teacher is not None and isinstance(queries.embedder, LocalEmbedder):
        release_documents(queries.embedder.model)
    documents = (
        queries if teacher is None else open_embedder(teacher, str(teacher.model), run.workers)
    )
    store, _ = open_dense_index(run, here, documents, passages)
    encoders = _Encoders(queries, documents if compares else queries)
    return DenseSearch(
        retriever,
        teacher if compares else None,
        here,
        store.folder,
        lambda: encoders,
        open_search_cache(run, retriever, store, keeps),
    )


def _reopen(
    retriever: Retriever,
    comparing: Teacher | None,
    vectors: Path,
    identities: Sequence[EncoderIdentity],
    cache: SearchCache,
    finished: FinishedSearch | None,
) -> DenseSearch:
    """Open a search again in a worker: vectors and indexes stand in the run's folder."""

    def open_encoders() -> _Encoders:
        queries = open_on_worker(LocalSource(retriever.model, retriever), identities[0])
        if comparing is None:
            return _Encoders(queries, queries)
        source = LocalSource(str(comparing.model), comparing)
        return _Encoders(queries, open_on_worker(source, identities[1]))

    search = DenseSearch(retriever, comparing, retriever, vectors, open_encoders, cache)
    search._finished = finished
    return search
