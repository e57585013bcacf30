"""The headers of a store's files: whether they can be read, and how wide its vectors are."""

from pathlib import Path
from typing import Literal

import numpy as np

from distill.embed.encoder import Encoder, Vectors
from distill.errors import UserError
from distill.files.atomic import read_json

VectorDtype = Literal["float32", "float16"]


def can_be_read(folder: Path, shape: tuple[int, int], precision: VectorDtype) -> bool:
    """Return whether the headers of the files are whole and match the expected shape and dtype."""
    try:
        vectors = _map_vectors(folder)
        done = read_json(folder / "done.json")["rows"]
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return False
    whole = vectors.shape == shape and vectors.dtype == np.dtype(precision)
    return whole and isinstance(done, int) and 0 <= done <= shape[0]


def refuse_other_width(folder: Path, encoder: Encoder) -> None:
    """Refuse an encoder whose vectors are of another width than the undamaged ones that are stored
    under its name: a server may have changed its model, and what is stored was paid for.

    Raises:
        UserError: if the widths differ.
    """
    try:
        vectors = _map_vectors(folder)
    except (OSError, ValueError):
        return
    head = vectors.offset  # type: ignore[attr-defined]
    whole = (folder / "vectors.npy").stat().st_size == head + vectors.nbytes
    if whole and vectors.ndim == 2 and vectors.shape[1] != encoder.dimensions:
        raise UserError(
            f"model {encoder.reference!r}",
            f"gives vectors of {encoder.dimensions} dimensions, and those of the same texts in "
            f"{folder} have {vectors.shape[1]}",
            "serve one model under this name: these vectors stay for it; give another model "
            "another name",
        )


def _map_vectors(folder: Path) -> Vectors:
    vectors: Vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    return vectors
