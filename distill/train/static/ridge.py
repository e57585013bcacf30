"""Ridge regression from a text's tokens to its vector, in memory that does not grow with the
texts' vectors."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from distill.embed.encoder import Vectors
from distill.runtime.progress import Progress

_ROWS = 16_384
"""Texts whose vectors are in memory at a time."""
_COLUMNS = 64
"""Dimensions that are solved for at a time."""
_TOLERANCE = 1e-7
"""Of the residual's length, relative to the right side's."""
_MOST_STEPS = 1000

Matrix = NDArray[np.float64]


def solve_ridge(
    counts: csr_array, read: Callable[[slice], Vectors], ridge: float, prior: Vectors
) -> Vectors:
    """Compute the token vectors W that minimise |counts W - targets|^2 + ridge |W - c prior|^2,
    where c is the factor at which counts c prior is nearest to the targets: conjugate gradients on
    the normal equations, all dimensions side by side, preconditioned by their diagonal.

    Args:
        counts: (texts, tokens).
        read: the targets of a range of texts, (texts, dimensions).
        ridge: above 0, so that the solution is unique. The vector of a token that no text has is
            c times its prior.
        prior: (tokens, dimensions); where it is all 0, this is plain ridge regression.

    Returns:
        (tokens, dimensions) float32.
    """
    # Nothing moves a token that no text has from its prior.
    seen = np.unique(counts.indices)
    counts, drawn = counts[:, seen].tocsr(), prior[seen]
    right = _project_targets(counts, read)
    diagonal = np.asarray(counts.multiply(counts).sum(axis=0)).ravel() + ridge
    transposed = counts.T.tocsr()

    def multiply(vectors: Matrix) -> Matrix:
        product: Matrix = transposed @ (counts @ vectors)
        return product

    blocks = _list_blocks(right.shape[1])
    factor = _fit_factor(counts, right, drawn, blocks)
    solution = (factor * prior).astype(np.float32)
    with Progress("fit token vectors", right.shape[1], "dimensions") as progress:
        for columns in blocks:
            known = factor * drawn[:, columns].astype(np.float64)
            left = right[:, columns] - multiply(known)
            found = _solve(lambda of: multiply(of) + ridge * of, left, diagonal[:, None])
            solution[seen, columns] = known + found
            progress.advance(columns.stop - columns.start)
    return solution


def _list_blocks(width: int) -> list[slice]:
    """List the dimensions that are solved for at a time."""
    return [slice(start, min(start + _COLUMNS, width)) for start in range(0, width, _COLUMNS)]


def _fit_factor(counts: csr_array, right: Matrix, prior: Vectors, blocks: Sequence[slice]) -> float:
    """Fit the factor c of least squares |c counts prior - targets|^2; 0 where the prior is.

    Args:
        right: counts' transpose times the targets.
    """
    along = sum(float((prior[:, columns] * right[:, columns]).sum()) for columns in blocks)
    squares = sum(float(np.square(counts @ prior[:, columns]).sum()) for columns in blocks)
    return along / squares if squares > 0 else 0.0


def _project_targets(counts: csr_array, read: Callable[[slice], Vectors]) -> Matrix:
    """Sum counts times targets over all texts: (tokens, dimensions)."""
    total: Matrix | None = None
    for start in range(0, counts.shape[0], _ROWS):
        rows = slice(start, min(start + _ROWS, counts.shape[0]))
        part: Matrix = counts[rows].T @ read(rows).astype(np.float64)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("no text to learn token vectors from")
    return total


def _solve(multiply: Callable[[Matrix], Matrix], right: Matrix, diagonal: Matrix) -> Matrix:
    """Solve for each column by conjugate gradients (Hestenes and Stiefel 1952)."""
    solution = np.zeros_like(right)
    residual = right.copy()
    direction = residual / diagonal
    energy = (residual * direction).sum(0)
    enough = _TOLERANCE * np.linalg.norm(right, axis=0)
    for _ in range(_MOST_STEPS):
        active = np.linalg.norm(residual, axis=0) > enough
        if not active.any():
            break
        product = multiply(direction)
        # A column that is solved already moves no further.
        step = _divide(energy, (direction * product).sum(0), active)
        solution += step * direction
        residual -= step * product
        scaled = residual / diagonal
        after = (residual * scaled).sum(0)
        direction = scaled + _divide(after, energy, active) * direction
        energy = after
    return solution


def _divide(over: Matrix, under: Matrix, where: NDArray[np.bool_]) -> Matrix:
    return np.divide(over, under, out=np.zeros_like(over), where=where & (under > 0))
