"""The recipe's index over stored vectors, and its recall of exact search."""

from distill.embed.encoder import Vectors
from distill.embed.vectors.vector_store import VectorStore
from distill.recipe import Retriever
from distill.retrieve.exact import NO_RESULT, ExactIndex, SearchIndex
from distill.retrieve.faiss_index import (
    ApproximateIndex,
    FaissFlatGpuIndex,
    FaissFlatIndex,
    compute_part_bounds,
    make_empty,
    require_gpus,
    set_effort,
)

EXACT_KINDS = ("exact", "faiss-flat")
"""Whose results are equal, so that it is no matter for a fingerprint which of them it is."""


QUERIES_AT_ONCE = 2048
"""Queries for which the vectors are gone through once. (These take an eighth less time than 256
on a CPU, and the vectors' way to a GPU is an eighth.)"""
_MOST_AT_ONCE = 16_384
"""Where the corpus is searched part by part."""
_BYTES_IN_MEMORY = 16 << 30
"""Of the vectors in one part, where the recipe does not say: less than machines and GPUs that hold
large corpora have."""


def is_exact(retriever: Retriever) -> bool:
    """Return whether the recipe's index finds every one of the k best."""
    return retriever.index in EXACT_KINDS


def check_index(retriever: Retriever, dimensions: int, count: int) -> None:
    """Refuse an index that cannot be built, before hours are spent on embedding for it.

    Raises:
        UserError: naming `retriever.index` or `retriever.index_device`.
    """
    if retriever.index == "exact":
        return
    if retriever.index_device == "gpu":
        require_gpus()
    if not is_exact(retriever):
        bounds = compute_part_bounds(count, retriever.index_rows)
        smallest = min(end - start for start, end in bounds)
        set_effort(make_empty(retriever.index, dimensions, smallest), retriever)


def make_index(retriever: Retriever, store: VectorStore) -> SearchIndex:
    """Make the index: `exact`, `faiss-flat`, or any of FAISS' factory, on CPU or GPU.

    Raises:
        UserError: as `check_index`; if FAISS cannot train the index on these vectors.
    """
    vectors, rows = store.vectors, retriever.index_rows
    check_index(retriever, vectors.shape[1], len(vectors))
    if retriever.index == "exact":
        return make_exact_index(vectors, retriever.device, rows)
    if retriever.index != "faiss-flat":
        return ApproximateIndex(vectors, store.folder, retriever)
    if retriever.index_device == "gpu":
        return FaissFlatGpuIndex(vectors, store.folder, retriever)
    return FaissFlatIndex(vectors, rows)


def make_exact_index(
    vectors: Vectors, device: str | None = None, rows: int | None = None
) -> SearchIndex:
    """Make an index for exact search: on an NVIDIA GPU by torch, elsewhere on the CPU.

    Args:
        device: None: the best one available.
        rows: passages in memory, or copied onto the GPU, at a time; None: chosen by the index.
    """
    from distill.runtime.devices import choose_device  # imports torch

    device = device or choose_device()
    if not device.startswith("cuda"):
        return ExactIndex(vectors, rows)
    from distill.retrieve.torch_exact import TorchExactIndex

    return TorchExactIndex(vectors, device, rows)


def compute_recall(
    index: SearchIndex, vectors: Vectors, queries: Vectors, k: int, device: str | None = None
) -> float:
    """Compute the share of the exact k nearest that an index finds, mean over queries. Another
    passage that is just as near as the last of them counts as found.

    Args:
        device: searches for the exact ones; None: the best one available.
    """
    exact, _ = make_exact_index(vectors, device).search(queries, k)
    scores, rows = index.search(queries, k)
    hits = (scores >= exact[:, -1:]) & (rows != NO_RESULT)
    return float(hits.sum() / exact.size)


def compute_parts(retriever: Retriever, vectors: Vectors) -> list[tuple[int, int]]:
    """Compute the first row and the end of each part of the corpus that a machine holds at a time.
    An approximate index finds other rows in other parts, so there the recipe alone decides."""
    rows = retriever.index_rows
    if rows is None and is_exact(retriever) and len(vectors):
        rows = max(1, _BYTES_IN_MEMORY // (vectors.nbytes // len(vectors)))
    return compute_part_bounds(len(vectors), rows)


def choose_queries_at_once(retriever: Retriever, vectors: Vectors) -> int:
    """Choose for how many queries a part of the corpus is gone through once. It follows from the
    recipe and the vectors alone, so that processes on other machines choose the same."""
    return _MOST_AT_ONCE if len(compute_parts(retriever, vectors)) > 1 else QUERIES_AT_ONCE
