"""What workers do for a search by parts: embed groups of queries, and search them in a part."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from distill.embed.encoder import Encoder, Vectors
from distill.embed.on_workers import SentEncoder
from distill.embed.open_embedder import choose_needs
from distill.embed.vectors.vector_store import VectorStore, open_vectors
from distill.recipe import Retriever
from distill.retrieve.dense.group_files import (
    BestRows,
    SearchGroup,
    compute_mark,
    make_damage_error,
    make_empty_best,
    read_arrays,
)
from distill.retrieve.dense.search_cache import (
    QueryBatch,
    RetrieverQueries,
    SearchCache,
)
from distill.retrieve.exact import RowNumbers
from distill.retrieve.faiss_index import ApproximateIndex
from distill.retrieve.index import compute_parts, is_exact, make_index
from distill.runtime.devices import has_device
from distill.workers.protocol import OpenWork, WorkerNeeds

OpenQueries = Callable[[], Callable[[int], RetrieverQueries]]
"""Opens the queries of a stage in a worker, where they are read by the number of their batch."""


class QueryBatches(NamedTuple):
    """The queries of a stage, in batches that are embedded one by one.

    Args:
        opens: opens the queries by the number of their batch.
        number: how many batches there are.
        together: how many are searched together.
        size: how many queries a batch has at most.
    """

    opens: OpenQueries
    number: int
    together: int
    size: Callable[[int], int]


class PartOfSearch(NamedTuple):
    """The search of one group of queries in one part of the corpus."""

    part: int
    group: int


@dataclass(frozen=True)
class PartedSearch:
    """A search that can be sent to workers.

    Args:
        folder: of its files.
        corpus: folder of the passages' vectors.
        batches: how many batches of queries there are; those of one are embedded together.
        together: batches in a group.
        k, depth: rows that are wanted of a query, and that are searched for.
    """

    folder: Path
    corpus: Path
    retriever: Retriever
    opens: OpenQueries
    batches: int
    together: int
    k: int
    depth: int

    @property
    def embedding_needs(self) -> WorkerNeeds:
        """What a worker needs to embed queries."""
        return choose_needs(self.retriever, self.retriever.model)

    @property
    def search_needs(self) -> WorkerNeeds:
        """What a worker needs to search a part: memory, and a GPU where there are some."""
        return WorkerNeeds("encoder", self.retriever.device)

    def list_batches(self, group: int) -> range:
        """List the batches of a group."""
        return range(group * self.together, min((group + 1) * self.together, self.batches))

    def make_group_path(self, group: int) -> Path:
        """Make the path of a group's queries."""
        return self.folder / f"queries-{group:06d}.npz"

    def make_best_path(self, group: int) -> Path:
        """Make the path of what was found for a group."""
        return self.folder / f"best-{group:06d}.npz"


def read_group(search: PartedSearch, number: int, *names: str) -> SearchGroup:
    """Read the queries of a group, or some of its arrays.

    Raises:
        UserError: if its file is missing or damaged.
    """
    group = read_arrays(SearchGroup, search.make_group_path(number), *names)
    if group is None:
        raise make_damage_error(search.make_group_path(number))
    return group


@contextmanager
def open_embedding(
    search: PartedSearch, sent: SentEncoder, cache: SearchCache
) -> Iterator[OpenWork[int, SearchGroup]]:
    """Open the embedding of groups of queries."""
    encoder, read = sent.encoder, search.opens()
    passages = open_vectors(search.corpus)

    def embed(groups: Sequence[int]) -> list[SearchGroup]:
        return [
            _embed_group(
                encoder, cache, passages, [read(n) for n in search.list_batches(group)], search.k
            )
            for group in groups
        ]

    yield OpenWork(embed)


def _embed_group(
    encoder: Encoder,
    cache: SearchCache,
    passages: Vectors,
    batches: Sequence[RetrieverQueries],
    k: int,
) -> SearchGroup:
    """Open the embedding of groups of queries."""
    vectors = np.zeros((0, encoder.dimensions), np.float32)
    embedded = [
        QueryBatch(queries, tasks, encoder.encode(queries, "query", tasks) if queries else vectors)
        for queries, tasks, _ in batches
    ]
    cached = [cache.find(encoder, passages, batch, k) for batch in embedded]
    keys = [key for of in cached for key in of.keys]
    return SearchGroup(
        whole := np.concatenate([of.vectors for of in embedded]),
        np.array([len(of.queries) for of in embedded], np.int64),
        np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1 if keys else 0),
        known := np.concatenate([of.known for of in cached]),
        np.concatenate([of.scores for of in cached]),
        np.concatenate([of.rows for of in cached]),
        compute_mark(whole, known),
    )


@contextmanager
def open_part_search(search: PartedSearch) -> Iterator[OpenWork[PartOfSearch, BestRows]]:
    """Open the search of groups in parts of the corpus."""
    vectors = open_vectors(search.corpus)
    bounds = compute_parts(search.retriever, vectors)
    retriever = search.retriever
    if not has_device(retriever.device):  # where all devices give the same, it is no matter
        retriever = retriever.model_copy(update={"device": "cpu"})
    held: list[_PartIndex] = []

    def search_parts(items: Sequence[PartOfSearch]) -> Iterator[BestRows]:
        for part, number in items:
            if not held or held[0].part != part:
                held.clear()  # its memory first
                held.append(_PartIndex(retriever, vectors, search.corpus, bounds, part))
            group = read_group(search, number)
            best = make_empty_best(group, search.depth, len(bounds))
            best.parts[part] = True
            scores, rows = held[0].search(group, search.depth)
            yield best._replace(scores=scores, rows=rows)

    yield OpenWork(search_parts)


class _PartIndex:
    """The recipe's index over one part of the vectors."""

    def __init__(
        self,
        retriever: Retriever,
        vectors: Vectors,
        folder: Path,
        bounds: Sequence[tuple[int, int]],
        part: int,
    ) -> None:
        self.part = part
        self._start, end = bounds[part]
        if is_exact(retriever):
            rows = VectorStore([], vectors[self._start : end], folder)
            whole = retriever.model_copy(update={"index_rows": None})
            self._index = make_index(whole, rows)
        else:
            self._index = ApproximateIndex(vectors, folder, retriever)

    def search(self, group: SearchGroup, depth: int) -> tuple[Vectors, RowNumbers]:
        """Find the best rows of the part for each query that is not known."""
        if not isinstance(self._index, ApproximateIndex):
            scores, rows = self._index.search(group.vectors[~group.known], depth)
            return scores, rows + self._start
        # What FAISS proposes may depend on which queries it is asked for together.
        batches = np.split(group.vectors, np.cumsum(group.sizes)[:-1])
        results = self._index.search_part(batches, self.part, depth)
        scores, rows = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
        return scores, rows
