"""Files of queries that are searched together, and of what was found for them so far."""

import hashlib
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from distill.embed.encoder import Vectors
from distill.errors import UserError
from distill.files.atomic import commit_bytes
from distill.retrieve.exact import NO_RESULT, RowNumbers
from distill.workers.node_copy import fetch_if_copied

T = TypeVar("T", bound="SearchGroup | BestRows")


class SearchGroup(NamedTuple):
    """Queries of some batches, one batch after the other.

    Args:
        vectors: (queries, dimensions).
        sizes: how many queries each batch has.
        keys: by which searches are kept, (queries, bytes of a key).
        known: those that need no search, (queries,).
        scores, rows: of those that are known, (queries, k).
        mark: a hash of all that decides what a search finds.
    """

    vectors: Vectors
    sizes: NDArray[np.int64]
    keys: NDArray[np.uint8]
    known: NDArray[np.bool_]
    scores: Vectors
    rows: RowNumbers
    mark: NDArray[np.uint8]


class BestRows(NamedTuple):
    """The best rows of a group's queries that are not known, in the parts of the corpus that were
    searched.

    Args:
        scores, rows: best first, (queries, rows); `NO_RESULT` fills the end.
        parts: which of the parts were searched, (parts,).
        mark: of the group of queries.
    """

    scores: Vectors
    rows: RowNumbers
    parts: NDArray[np.bool_]
    mark: NDArray[np.uint8]


def encode_arrays(value: SearchGroup | BestRows) -> bytes:
    """Encode arrays as the bytes of an `.npz` file, whose checksums show damage."""
    arrays: Mapping[str, Any] = value._asdict()
    file = BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def decode_arrays(kind: type[T], content: bytes) -> T:
    """Decode what `encode_arrays` has encoded."""
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        return kind(**{name: arrays[name] for name in kind._fields})


def write_arrays(path: Path, value: SearchGroup | BestRows) -> None:
    """Write arrays into a file, whole or not at all."""
    commit_bytes(path, encode_arrays(value))


def read_arrays(kind: type[T], path: Path, *names: str) -> T | None:
    """Read the arrays of a file; None where it is not there, or damaged.

    Args:
        names: the arrays that are read; all without them. The others are empty.
    """
    fetch_if_copied(path)
    wanted = {*(names or kind._fields)}
    arrays: dict[str, Any] = dict.fromkeys(kind._fields, np.zeros(0))
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays |= {name: file[name] for name in wanted}
    except (FileNotFoundError, zipfile.BadZipFile, ValueError, KeyError, EOFError):
        return None
    return kind(**arrays)


def make_damage_error(path: Path) -> UserError:
    """Make the error for a file that was there a moment ago, and cannot be read."""
    return UserError(
        str(path),
        "is missing or damaged",
        "check the disk; the same command searches for those queries again",
    )


def merge_best(best: BestRows, other: BestRows) -> BestRows:
    """Put the best rows of another part of the corpus among the best so far. Ties go to the earlier
    row, as in a search of the whole: it is no matter which part comes first."""
    scores = np.concatenate([best.scores, other.scores], axis=1)
    rows = np.concatenate([best.rows, other.rows], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, : best.scores.shape[1]]
    return BestRows(
        np.take_along_axis(scores, order, axis=1),
        np.take_along_axis(rows, order, axis=1),
        best.parts | other.parts,
        best.mark,
    )


def make_empty_best(group: SearchGroup, depth: int, parts: int) -> BestRows:
    """Make the best rows of a group for which no part was searched yet."""
    queries = int((~group.known).sum())
    return BestRows(
        np.full((queries, depth), -np.inf, np.float32),
        np.full((queries, depth), NO_RESULT, np.int64),
        np.zeros(parts, np.bool_),
        group.mark,
    )


def compute_mark(vectors: Vectors, known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Hash what decides what a search of a group finds."""
    content = hashlib.blake2b(vectors.tobytes(), digest_size=16)
    content.update(known.tobytes())
    return np.frombuffer(content.digest(), np.uint8)
