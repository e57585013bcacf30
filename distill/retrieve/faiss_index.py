"""FAISS' indexes (the extras `cpu` or `gpu`): flat ones, which are exact, and those by factory
string, which are not."""

import logging
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from distill.embed.encoder import Vectors
from distill.errors import UserError, need
from distill.files.atomic import open_atomic_file, write_json
from distill.files.checksums import find_damage_beside, measure_file
from distill.recipe import Retriever
from distill.retrieve.exact import (
    NO_RESULT,
    ExactIndex,
    RowNumbers,
    find_exact_top_k,
    rescore,
    select_best,
)
from distill.store.stage import fingerprint

_BLOCK = 65_536
_SAMPLE = 64
"""Training vectors a list: FAISS warns below 39, and takes no more than 256."""
_CODES = 256
"""Centroids of a product quantiser, which are trained too."""
_REFINED = 4
"""Multiple of k that is proposed and scored again: compressed vectors alone rank badly."""
_LOG = logging.getLogger(__name__)
_MOST_ON_GPU = 2048
"""FAISS finds no more for a query on a GPU."""


class FaissFlatIndex:
    """FAISS' brute-force search over the memory-mapped vectors, without a copy.

    Args:
        rows: passages looked at in one go at most.
    """

    def __init__(self, vectors: Vectors, rows: int | None = None) -> None:
        self._faiss = need("faiss", "cpu")
        self.vectors = vectors
        self._block = min(rows or _BLOCK, _BLOCK)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowNumbers]:
        """Find the k best rows of each query (see `SearchIndex`)."""
        return find_exact_top_k(self._propose, self.vectors, np.ascontiguousarray(queries), k)

    def _propose(self, queries: Vectors, count: int) -> tuple[Vectors, RowNumbers]:
        scores = np.zeros((len(queries), 0), np.float32)
        rows = np.zeros((len(queries), 0), np.int64)
        for start in range(0, len(self.vectors), self._block):
            block = np.asarray(self.vectors[start : start + self._block], np.float32)
            metric = self._faiss.METRIC_INNER_PRODUCT
            block_scores, numbers = self._faiss.knn(queries, block, min(count, len(block)), metric)
            scores = np.concatenate([scores, block_scores], axis=1)
            rows = np.concatenate([rows, numbers + start], axis=1)
            scores, rows = select_best(scores, rows, count)
        return scores, rows


class FaissFlatGpuIndex:
    """FAISS' flat index on all GPUs."""

    def __init__(self, vectors: Vectors, folder: Path, retriever: Retriever) -> None:
        self.vectors = vectors
        self._parts = PartitionedIndex("Flat", vectors, folder, retriever)
        self._exact = ExactIndex(vectors)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowNumbers]:
        """Find the k best rows of each query (see `SearchIndex`)."""
        return find_exact_top_k(self._propose, self.vectors, queries, k)

    def _propose(self, queries: Vectors, count: int) -> tuple[Vectors, RowNumbers]:
        if count > _MOST_ON_GPU:  # so many ties
            return self._exact._propose(queries, count)
        best = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        for part in self._parts.order:
            best = select_best(*_join(best, self._parts.propose(part, queries, count)), count)
        return best


class ApproximateIndex:
    """A FAISS index by factory string. Its candidates are scored again, so that scores are exact
    and ties go to the earlier row, but it may miss some rows."""

    def __init__(self, vectors: Vectors, folder: Path, retriever: Retriever) -> None:
        self.vectors = vectors
        self._parts = PartitionedIndex(retriever.index, vectors, folder, retriever)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowNumbers]:
        """Find the k best of the proposed rows of each query (see `SearchIndex`)."""
        return self.search_batches([queries], k)[0]

    def search_batches(
        self, batches: Sequence[Vectors], k: int
    ) -> list[tuple[Vectors, RowNumbers]]:
        """Search batch by batch, as `search` does, but load each part of the index once for all of
        them."""
        best = self._make_empty(batches, k)
        for part in self._parts.order:
            self._search_part(batches, part, best)
        return best

    def search_part(
        self, batches: Sequence[Vectors], part: int, k: int
    ) -> list[tuple[Vectors, RowNumbers]]:
        """Search batch by batch in one part of the index."""
        best = self._make_empty(batches, k)
        self._search_part(batches, part, best)
        return best

    def make_parts(self) -> None:
        """Make the parts that are not on the disk yet, as a search does when it comes to them."""
        self._parts.make_parts()

    def _make_empty(self, batches: Sequence[Vectors], k: int) -> list[tuple[Vectors, RowNumbers]]:
        k = min(k, len(self.vectors))
        return [
            (np.full((len(of), k), -np.inf, np.float32), np.full((len(of), k), NO_RESULT, np.int64))
            for of in batches
        ]

    def _search_part(
        self, batches: Sequence[Vectors], part: int, best: list[tuple[Vectors, RowNumbers]]
    ) -> None:
        """Put what a part has among the best. FAISS is asked for one batch at a time, for what it
        proposes may depend on which queries it is asked for together."""
        for queries, kept in zip(batches, best, strict=True):
            _, proposed = self._parts.propose(part, queries, _REFINED * kept[1].shape[1])
            self._merge(queries, kept, proposed)

    def _merge(
        self, queries: Vectors, best: tuple[Vectors, RowNumbers], proposed: RowNumbers
    ) -> None:
        """Put the rows that a part proposes among the best so far."""
        scores, rows = best
        for place, query in enumerate(queries):
            there = proposed[place][proposed[place] != NO_RESULT]
            exact_scores, exact_rows = rescore(query, self.vectors, there, rows.shape[1])
            merged = np.concatenate([scores[place], exact_scores])
            numbers = np.concatenate([rows[place], exact_rows])
            order = np.lexsort((numbers, -merged))[: rows.shape[1]]
            scores[place], rows[place] = merged[order], numbers[order]


class PartitionedIndex:
    """FAISS indexes over consecutive parts of the vectors, with one part in memory at a time.

    Trained ones are made once and kept beside the vectors: a graph that several threads build is
    never the same twice, and a run that continues must find what it found before.
    """

    def __init__(self, factory: str, vectors: Vectors, folder: Path, retriever: Retriever) -> None:
        self._factory = factory
        self._vectors = vectors
        self._retriever = retriever
        self._bounds = compute_part_bounds(len(vectors), retriever.index_rows)
        mark = fingerprint("index", {"factory": factory, "parts": len(self._bounds)}, {})
        self._folder = folder / f"index-{mark}"
        self._held: tuple[int, Any] | None = None
        self._compared: set[Path] = set()

    def make_parts(self) -> None:
        """Make the parts that are not on the disk yet."""
        for part in range(len(self._bounds)):
            self._open_stored(part)

    @property
    def order(self) -> list[int]:
        """The parts, that in memory first."""
        held = -1 if self._held is None else self._held[0]
        return sorted(range(len(self._bounds)), key=lambda number: number != held)

    def propose(self, part: int, queries: Vectors, count: int) -> tuple[Vectors, RowNumbers]:
        """Give what a part proposes: scores and rows, (queries, count) at most, `NO_RESULT` among
        them."""
        if self._retriever.index_device == "gpu":
            count = min(count, _MOST_ON_GPU)
        if not len(queries):
            return np.zeros((0, count), np.float32), np.zeros((0, count), np.int64)
        start, end = self._bounds[part]
        scores, rows = self._open_part(part).search(
            np.ascontiguousarray(queries, np.float32), min(count, end - start)
        )
        return scores, np.where(rows == NO_RESULT, NO_RESULT, rows + start)

    def _open_part(self, part: int) -> Any:
        if self._held is None or self._held[0] != part:
            self._held = None  # its memory first
            self._held = part, self._prepare_part(part)
        return self._held[1]

    def _prepare_part(self, part: int) -> Any:
        if self._factory == "Flat":
            index = self._make_part(part)
        else:
            index = need("faiss", "cpu").read_index(str(self._open_stored(part)))
            set_effort(index, self._retriever)
        return (
            _move_to_gpus(index, self._retriever)
            if self._retriever.index_device == "gpu"
            else index
        )

    def _open_stored(self, part: int) -> Path:
        """Open the part's index on disk, made if it is not there yet."""
        path = self._folder / f"part-{part:05d}.faiss"
        recorded = path.with_suffix(".json")
        if path.exists() and recorded.exists() and path not in self._compared:
            what = find_damage_beside(path, recorded)
            if what is not None:
                _LOG.warning("%s %s: it is made again", path, what)
                path.unlink()
        if not path.exists():
            self._folder.mkdir(exist_ok=True)
            with open_atomic_file(path) as beside:
                need("faiss", "cpu").write_index(self._make_part(part), str(beside))
                write_json(recorded, measure_file(beside))
        self._compared.add(path)
        return path

    def _make_part(self, part: int) -> Any:
        start, end = self._bounds[part]
        vectors = self._vectors[start:end]
        index = make_empty(self._factory, self._vectors.shape[1], len(vectors))
        if not index.is_trained:
            _train(index, vectors, self._factory)
        for block in _iterate_blocks(vectors):
            index.add(block)
        return index


def _join(
    one: tuple[Vectors, RowNumbers], other: tuple[Vectors, RowNumbers]
) -> tuple[Vectors, RowNumbers]:
    return np.concatenate([one[0], other[0]], axis=1), np.concatenate([one[1], other[1]], axis=1)


def compute_part_bounds(count: int, rows: int | None) -> list[tuple[int, int]]:
    """Compute the first row and the end of each part: as many parts as needed, of nearly equal
    size."""
    parts = -(-count // rows) if rows else 1
    ends = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(ends))


def make_empty(factory: str, dimensions: int, count: int) -> Any:
    """Make an index by FAISS' factory for `count` vectors, by inner product.

    Raises:
        UserError: if FAISS does not know it, or it has more lists than there are vectors.
    """
    faiss = need("faiss", "cpu")
    try:
        index = faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as fault:
        raise _explain_refusal(
            factory, f"FAISS makes no such index of {dimensions} dimensions", fault
        ) from None
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None and ivf.nlist > count:
        raise UserError(
            f"retriever.index: {factory}",
            f"has {ivf.nlist} lists for {count} vectors",
            "take fewer lists (about the square root of the vectors, times 4), or exact",
        )
    return index


def require_gpus() -> None:
    """Check that the installed FAISS finds a GPU.

    Raises:
        UserError: if the installed FAISS has no GPU.
    """
    if need("faiss", "gpu").get_num_gpus() == 0:
        raise UserError(
            "retriever.index_device: gpu",
            "the installed FAISS finds no GPU",
            "install distill's extra `gpu` on a machine with a GPU, or set it to cpu",
        )


def _train(index: Any, vectors: Vectors, factory: str) -> None:
    inner = _get_inner(index)
    if hasattr(inner, "do_polysemous_training"):
        inner.do_polysemous_training = False  # minutes, for a kind of search that is not asked for
    ivf = need("faiss", "cpu").try_extract_index_ivf(index)
    size = _SAMPLE * max(ivf.nlist if ivf is not None else 0, _CODES)
    rows = np.arange(len(vectors))
    if size < len(vectors):
        rows = np.sort(np.random.default_rng(0).choice(len(vectors), size, replace=False))
    try:
        index.train(np.ascontiguousarray(vectors[rows], np.float32))
    except RuntimeError as fault:
        what = f"FAISS cannot train it on {len(rows)} vectors"
        raise _explain_refusal(factory, what, fault) from None


def _iterate_blocks(vectors: Vectors) -> Iterator[Vectors]:
    for start in range(0, len(vectors), _BLOCK):
        yield np.ascontiguousarray(vectors[start : start + _BLOCK], np.float32)


def set_effort(index: Any, retriever: Retriever) -> None:
    """Set how much of the index a search examines.

    Raises:
        UserError: if the recipe sets it for an index that looks at all of it.
    """
    faiss = need("faiss", "cpu")
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        ivf.nprobe = retriever.effort or max(1, ivf.nlist // 16)
        return
    inner = _get_inner(index)
    if isinstance(inner, faiss.IndexHNSW):
        inner.hnsw.efSearch = retriever.effort or 128
    elif retriever.effort is not None:
        raise UserError(
            "retriever.effort",
            f"means nothing to {retriever.index}, which has neither lists nor a graph",
            "take it out, or choose an index of IVF or HNSW",
        )


def _get_inner(index: Any) -> Any:
    """Return the index itself, without the transforms of vectors before it."""
    faiss = need("faiss", "cpu")
    inner = faiss.downcast_index(index)
    while isinstance(inner, faiss.IndexPreTransform):
        inner = faiss.downcast_index(inner.index)
    return inner


def _move_to_gpus(index: Any, retriever: Retriever) -> Any:
    faiss = need("faiss", "gpu")
    options = faiss.GpuMultipleClonerOptions()
    options.shard = retriever.index_gpus == "shards"
    try:
        return faiss.index_cpu_to_all_gpus(index, options)
    except RuntimeError as fault:
        what = "FAISS does not take it onto a GPU"
        raise _explain_refusal(retriever.index, what, fault) from None


def _explain_refusal(factory: str, what: str, fault: RuntimeError) -> UserError:
    """Make the error for a factory string that FAISS refuses, with FAISS' own reason, which follows
    the place in its source."""
    reason = str(fault).strip().splitlines()[-1].rpartition(": ")[2]
    return UserError(
        f"retriever.index: {factory}",
        f"{what} ({reason})",
        "write it as FAISS' index factory does (IVF1024,Flat; IVF1024,PQ48; HNSW32), or exact",
    )
