"""Vectors as an index would store them: cut to a Matryoshka width, in int8 or in bits; and what a
score computed on them is computed from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.util import quantize_embeddings

from distill.embed.encoder import Vectors, normalize_rows
from distill.text.format import Side

Precision = Literal["float32", "int8", "binary"]


@dataclass(frozen=True)
class VectorFormat:
    """The width and number type in which vectors are stored; a `width` of None is the model's
    own."""

    width: int | None = None
    precision: Precision = "float32"

    @property
    def plain(self) -> bool:
        """Whether vectors are left as the model gives them."""
        return self.width is None and self.precision == "float32"

    def count_bytes(self, dimensions: int) -> int:
        """Compute a vector's bytes in an index of vectors with this number of dimensions."""
        bits = {"float32": 32, "int8": 8, "binary": 1}[self.precision]
        return (bits * dimensions + 7) // 8


class Quantizer:
    """Puts vectors into a form and reads them back, so that scores are those of what is stored.

    What is stored are documents and, in tasks without sides, all texts; queries come in float32 to
    the index and stay so. A vector is cut, then brought to length one. int8 is what
    `quantize_embeddings` makes of it with one range a dimension, read back as FAISS' scalar
    quantizer does, at the middle of its step; the ranges are those of the task's first block of
    stored texts (of a corpus mteb gives 50,000 at a time), as an index is trained on a sample.
    binary is the signs, read back as +-1 and scored with the query's own floats: what Yamada et
    al. (2021) rank candidates by, and between two stored vectors a linear function of their
    Hamming distance.
    """

    def __init__(self, form: VectorFormat) -> None:
        self._form = form
        self._ranges: dict[str, NDArray[np.float32]] = {}

    def quantize(self, vectors: Vectors, side: Side | None, collection: str) -> Vectors:
        """Return vectors as they come back from an index: (n, dimensions) -> (n, width). Vectors of
        one `collection` share their ranges."""
        if self._form.plain or not len(vectors):
            return vectors
        cut = normalize_rows(vectors[:, : self._form.width])
        if side == "query" or self._form.precision == "float32":
            return cut
        if self._form.precision == "binary":
            return _quantize_binary(cut)
        if collection not in self._ranges:
            self._ranges[collection] = np.stack([cut.min(axis=0), cut.max(axis=0)])
        return _quantize_int8(cut, self._ranges[collection])


def _quantize_int8(vectors: Vectors, ranges: NDArray[np.float32]) -> Vectors:
    codes = quantize_embeddings(vectors, "int8", ranges=ranges)
    steps = (ranges[1] - ranges[0]) / 255
    return (ranges[0] + (np.asarray(codes, np.float32) + 128.5) * steps).astype(np.float32)


def _quantize_binary(vectors: Vectors) -> Vectors:
    """Quantize to one bit a dimension, of length one as the queries are."""
    bits = np.unpackbits(quantize_embeddings(vectors, "ubinary"), axis=1, count=vectors.shape[1])
    return ((2.0 * bits - 1.0) / np.sqrt(vectors.shape[1])).astype(np.float32)
