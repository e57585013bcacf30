"""Vectors on disk: written chunk after chunk as they are produced, into a memory-mapped `.npy`
beside their ids. A store is addressed by what it holds (model, revision, length, side, texts,
precision), so the same vectors are never computed twice within a run, and a killed run goes on at
its chunk."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from distill.progress import Progress
from distill.retrieve.encoder import Encoder, Side, Vectors
from distill.run import fingerprint, read_json, write_json

Precision = Literal["float32", "float16"]

CHUNK = 1024
"""Texts between two commits; the composition of batches, and so every byte, depends on it."""


@dataclass(frozen=True)
class VectorStore:
    """`vectors` has shape (ids, dimensions), read-only and memory-mapped, in the precision asked
    for; an index over them may be kept in `folder`."""

    ids: list[str]
    vectors: Vectors
    folder: Path

    @property
    def row_of(self) -> dict[str, int]:
        return {id_: row for row, id_ in enumerate(self.ids)}


def embed(
    root: Path,
    encoder: Encoder,
    side: Side,
    ids: Sequence[str],
    texts: Sequence[str],
    label: str,
    precision: Precision = "float32",
) -> VectorStore:
    """The unit vectors of whole texts, prompts included (`Wording.write`), from the store under
    `root` or computed into it.

    Resumable: after each chunk the file is flushed to disk and the row count committed.
    """
    folder = root / _address(encoder, side, ids, texts, precision)
    if not folder.exists():
        _create(folder, encoder, ids, len(texts), precision)
    done = int(read_json(folder / "done.json")["rows"])
    if done < len(texts):
        _fill(folder, encoder, side, texts, done, label)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    return VectorStore(list(ids), vectors, folder)


def _address(
    encoder: Encoder, side: Side, ids: Sequence[str], texts: Sequence[str], precision: Precision
) -> str:
    content = hashlib.sha256()
    for id_, text in zip(ids, texts, strict=True):
        content.update(f"{len(id_)} {len(text)} {id_}{text}".encode())
    settings = {"encoder": encoder.identity, "side": side, "texts": content.hexdigest()}
    if precision != "float32":
        settings["precision"] = precision
    return fingerprint("vectors", settings, {})


def _create(
    folder: Path, encoder: Encoder, ids: Sequence[str], rows: int, precision: Precision
) -> None:
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    shape = (rows, encoder.dimensions)
    np.lib.format.open_memmap(fresh / "vectors.npy", "w+", np.dtype(precision), shape).flush()
    write_json(fresh / "ids.json", list(ids))
    write_json(fresh / "encoder.json", encoder.identity)
    write_json(fresh / "done.json", {"rows": 0})
    os.replace(fresh, folder)


def _fill(
    folder: Path, encoder: Encoder, side: Side, texts: Sequence[str], done: int, label: str
) -> None:
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "r+")
    with Progress(label, len(texts), "texts", done) as progress:
        for start in range(done, len(texts), CHUNK):
            chunk = texts[start : start + CHUNK]
            vectors[start : start + len(chunk)] = encoder.encode_written(chunk, side)
            vectors.flush()
            write_json(folder / "done.json", {"rows": start + len(chunk)})
            progress.advance(len(chunk))
