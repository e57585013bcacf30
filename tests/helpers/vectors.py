"""Vectors for tests."""

from pathlib import Path

import numpy as np

from distill.embed.vectors.vector_store import VectorStore


def draw_unit_vectors(rows: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def draw_tied_vectors(rows: int) -> np.ndarray:
    """Each vector stands there up to forty times, far apart: more ties than any margin."""
    distinct = draw_unit_vectors(rows // 40, 24, seed=1)
    return distinct[np.random.default_rng(2).integers(len(distinct), size=rows)]


def draw_easy_vectors(rows: int, width: int, seed: int) -> np.ndarray:
    """Of four dimensions in truth, so that an approximate index has an easy task."""
    vectors = draw_unit_vectors(rows, 4, seed) @ draw_unit_vectors(
        4, width, 0
    ) + 0.01 * draw_unit_vectors(rows, width, seed)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def search_by_brute_force(queries: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    scores = (queries.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    return np.stack([np.lexsort((np.arange(len(vectors)), -row))[:k] for row in scores])


def make_vector_store(folder: Path, vectors: np.ndarray) -> VectorStore:
    """The vectors as they come from disk."""
    np.save(folder / "vectors.npy", vectors)
    mapped = np.load(folder / "vectors.npy", mmap_mode="r")
    return VectorStore([f"p{n}" for n in range(len(vectors))], mapped, folder)
