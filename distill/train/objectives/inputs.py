"""The one check of what every objective is given."""

from collections.abc import Sequence

from torch import Tensor


def expect(name: str, tensor: Tensor, *shape: int) -> None:
    """
    Raises:
        ValueError: if the tensor is of another shape; says which it has and which was expected.
    """
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: got {tuple(tensor.shape)}, expected {shape}")


def expect_columns(vectors: Sequence[Tensor], least: int) -> tuple[int, int]:
    """The rows and dimensions that all columns have in common.

    Raises:
        ValueError: if there are fewer columns than `least`, or they differ in shape.
    """
    if len(vectors) < least:
        raise ValueError(f"columns of vectors: got {len(vectors)}, expected at least {least}")
    if vectors[0].ndim != 2:
        raise ValueError(f"column 0: got {tuple(vectors[0].shape)}, expected (batch, dimensions)")
    rows, width = vectors[0].shape
    for column, texts in enumerate(vectors):
        expect(f"column {column}", texts, rows, width)
    return rows, width
