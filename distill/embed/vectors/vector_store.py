"""Vectors on disk: written chunk after chunk as they are produced, into a memory-mapped `.npy`
beside their ids. A store is addressed by what it holds (model, revision, length, side, texts,
precision), so the same vectors are never computed twice within a run, and a killed run goes on at
its chunk. Each chunk has a checksum: damaged ones are computed again, never used."""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.embed.encoder import Encoder, Vectors
from distill.embed.on_workers import make_embedding_job
from distill.embed.vectors.chunks import (
    list_damaged_chunks,
    list_missing_chunks,
    note_verified_chunks,
    record_chunk,
)
from distill.embed.vectors.headers import VectorDtype, can_be_read, refuse_other_width
from distill.embed.vectors.other_run import copy_from_other_run, find_in_other_run
from distill.errors import UserError
from distill.files.atomic import (
    open_atomic_folder,
    read_json,
    reserve_room,
    write_json,
    write_json_list,
)
from distill.object_store.growing_file import (
    copy_part,
    has_parts,
    mark_growing,
    mark_whole,
    remove_parts,
    restore_parts,
)
from distill.object_store.no_mirror import NO_MIRROR, Mirror
from distill.runtime.interrupt import Interrupt
from distill.runtime.progress import Progress
from distill.store.local_name import restore_paths
from distill.store.stage import fingerprint
from distill.text.format import Side
from distill.workers.device import ExecutionNotes
from distill.workers.local import LOCAL
from distill.workers.node_copy import fetch_if_copied
from distill.workers.protocol import HERE, OpenWork, WorkerJob, Workers
from distill.workers.shares import SharesPause, describe_unopened

_LOG = logging.getLogger(__name__)
_SOURCE = "imported.json"
_EXECUTION = "execution.json"
CHUNK = 1024
"""Texts between two commits; the composition of batches, and so every byte, depends on it."""
_PART_BYTES = 32 << 20
"""About so large are the parts in which a growing store is copied."""


@dataclass(frozen=True)
class VectorStore:
    """Vectors on disk, (ids, dimensions), read-only and memory-mapped, in the requested precision;
    an index over them may be stored in `folder`."""

    ids: Sequence[str]
    vectors: Vectors
    folder: Path


def embed(
    root: Path,
    encoder: Encoder,
    side: Side,
    ids: Sequence[str],
    texts: Sequence[str],
    label: str,
    precision: VectorDtype = "float32",
    mark: str | None = None,
    workers: Workers = LOCAL,
    mirror: Mirror = NO_MIRROR,
) -> VectorStore:
    """Return the unit vectors of whole texts, prompts included (`Wording.write`), from the store
    under `root` or computed into it.

    Resumable: after each chunk the file is flushed to disk and its checksum committed.

    Args:
        ids: written beside the vectors once; where those are there, none is read.
        workers: who embeds; this process alone writes.
        mark: of ids and texts: other ones never have the same. Vectors that were found by their
            texts once are found by it from then on, without reading a text.
        mirror: the run's copy in a store, which has what is done while the others are computed.

    Raises:
        UserError: if the store holds vectors of another width than the encoder's.
    """
    folder = _find_marked(root, encoder, side, ids, texts, precision, mark)
    if has_parts(folder / "vectors.npy"):
        _restore(folder, encoder, ids, len(texts), precision)
    refuse_other_width(folder, encoder)
    if folder.exists() and not can_be_read(folder, (len(texts), encoder.dimensions), precision):
        _set_aside(folder)
    if not folder.exists():
        if workers.reads_only:
            raise SharesPause(describe_unopened(label))
        _create_or_copy(folder, encoder, ids, len(texts), precision)
    done = int(read_json(folder / "done.json")["rows"])
    damaged = list_damaged_chunks(folder, done, CHUNK)
    starts = [*damaged, *list_missing_chunks(folder, done, len(texts), CHUNK)]
    if starts or done < len(texts):
        job = make_embedding_job(
            label, encoder, side, texts, starts, CHUNK, f"vectors-{folder.name}"
        )
        _fill(folder, job, starts, workers, mirror)
    return VectorStore(ids, open_vectors(folder), folder)


def open_vectors(folder: Path) -> Vectors:
    """Open the vectors of a complete store's folder, (texts, dimensions), memory-mapped."""
    fetch_if_copied(folder)
    vectors: Vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    return vectors


def is_stored(
    root: Path,
    encoder: Encoder,
    side: Side,
    ids: Sequence[str],
    texts: Sequence[str],
    precision: VectorDtype = "float32",
    mark: str | None = None,
) -> bool:
    """Return whether the store under `root`, or that of the run from which vectors are copied, has
    all vectors of these texts, so that `embed` computes none."""
    folder = _find_marked(root, encoder, side, ids, texts, precision, mark)
    return _is_there(folder, (len(texts), encoder.dimensions), precision)


def import_vectors(
    root: Path,
    encoder: Encoder,
    side: Side,
    ids: Sequence[str],
    texts: Sequence[str],
    read: Callable[[slice], Vectors],
    source: str,
    precision: VectorDtype = "float32",
) -> None:
    """Fill the store of these texts with vectors that the same model has given them before, so that
    `embed` computes none. It is there whole or not at all. A complete store is left as it is.

    Args:
        read: unit vectors of the texts in a range, (texts, dimensions).
        source: names what the vectors are read from by its content; it is kept in the store.

    Raises:
        UserError: if other vectors of these texts were imported before, or some of another width
            are there.
    """
    folder = _find_folder(root, encoder, side, ids, texts, precision)
    shape = (len(texts), encoder.dimensions)
    if _is_complete(folder, shape, precision):
        _check_source(folder, source)
        return
    refuse_other_width(folder, encoder)
    if folder.exists():
        _move_beside(folder, "unfinished")
    with open_atomic_folder(folder) as beside:
        _write_empty(beside, encoder, ids, len(texts), precision)
        write_json(beside / _SOURCE, source)
        starts = range(0, len(texts), CHUNK)
        slices = [[slice(start, min(start + CHUNK, len(texts)))] for start in starts]
        work = OpenWork[slice, Vectors](lambda several: [*map(read, several)])
        job = WorkerJob("import vectors", lambda: nullcontext(work), slices, HERE)
        _fill(beside, job, starts, LOCAL)


def _is_there(folder: Path, shape: tuple[int, int], precision: VectorDtype) -> bool:
    """Return whether a store is complete in this run, or is in the one that vectors are copied
    from."""
    stored = folder if folder.exists() else find_in_other_run(folder)
    return stored is not None and _is_complete(stored, shape, precision)


def _is_complete(folder: Path, shape: tuple[int, int], precision: VectorDtype) -> bool:
    if not folder.exists() or not can_be_read(folder, shape, precision):
        return False
    return bool(read_json(folder / "done.json")["rows"] == shape[0])


def _check_source(folder: Path, source: str) -> None:
    """Refuse other vectors than those that a run's stages may have been made from."""
    path = folder / _SOURCE
    if not path.exists():
        _LOG.warning("%s: these vectors are in the run already: none is imported", folder)
    elif read_json(path) != source:
        raise UserError(
            str(folder),
            "holds the vectors of a file that has changed since, and the run is made of them",
            "give this run another folder with --run, or restore the file",
        )


def _find_folder(
    root: Path,
    encoder: Encoder,
    side: Side,
    ids: Sequence[str],
    texts: Sequence[str],
    precision: VectorDtype,
) -> Path:
    """Find the folder of these vectors, or the one to make. Older stores, addressed by the path of
    a local model, are found too, and so are complete ones of another encoder that gives documents
    the same vectors."""
    content = hashlib.sha256()
    for id_, text in zip(ids, texts, strict=True):
        content.update(f"{len(id_)} {len(text)} {id_}{text}".encode())
    settings = {"encoder": encoder.identity, "side": side, "texts": content.hexdigest()}
    if precision != "float32":
        settings["precision"] = precision
    before = root / fingerprint("vectors", restore_paths(settings), {})
    folder = before if before.exists() else root / fingerprint("vectors", settings, {})
    # A program's own encoder need not have the attribute.
    known = getattr(encoder, "document_identity", None) if side == "document" else None
    if folder.exists() or known is None:
        return folder
    settings["encoder"] = known
    same = root / fingerprint("vectors", settings, {})
    return same if _is_there(same, (len(ids), encoder.dimensions), precision) else folder


def _find_marked(
    root: Path,
    encoder: Encoder,
    side: Side,
    ids: Sequence[str],
    texts: Sequence[str],
    precision: VectorDtype,
    mark: str | None,
) -> Path:
    """Find the folder of these vectors by the mark of their texts, else by the texts: then it is
    noted under the mark, once it is there."""
    if mark is None:
        return _find_folder(root, encoder, side, ids, texts, precision)
    settings = {"encoder": encoder.identity, "side": side, "mark": mark, "precision": precision}
    note = root / "addresses" / f"{fingerprint('address', settings, {})}.json"
    if note.is_file():
        with suppress(UserError, KeyError, TypeError):
            folder = root / str(read_json(note)["folder"])
            if folder.parent == root and folder.exists():
                return folder
    folder = _find_folder(root, encoder, side, ids, texts, precision)
    if folder.exists():
        note.parent.mkdir(exist_ok=True)
        write_json(note, {"folder": folder.name})
    return folder


def _set_aside(folder: Path) -> None:
    _move_beside(folder, "damaged")
    _LOG.warning("%s: the vectors cannot be read: they are computed again", folder)


def _move_beside(folder: Path, why: str) -> None:
    target = folder.with_name(f"{folder.name}-{why}")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(folder, target)


def _note_done(
    folder: Path, mirror: Mirror, vectors: Any, before: int, ends: Mapping[int, int]
) -> int:
    """Write down up to which row all chunks are there, and return it.

    Args:
        ends: behind each chunk that is there, by its first row.
    """
    done = before
    while done in ends:
        done = ends[done]
    if done > before:
        _copy_parts(mirror, vectors, before, done)
        write_json(folder / "done.json", {"rows": done})
    return done


def _copy_parts(mirror: Mirror, vectors: Any, before: int, done: int) -> None:
    """Copy the parts of the file that are done now and were not before."""
    chunks = max(1, _PART_BYTES // (CHUNK * vectors.strides[0]))
    rows = chunks * CHUNK
    for part in range(before // rows, done // rows):
        start, end = (
            vectors.offset + row * vectors.strides[0] for row in (part * rows, (part + 1) * rows)
        )
        copy_part(mirror, Path(vectors.filename), start, end)


def _create_or_copy(
    folder: Path, encoder: Encoder, ids: Sequence[str], rows: int, precision: VectorDtype
) -> None:
    found = find_in_other_run(folder)
    if found is not None and _is_complete(found, (rows, encoder.dimensions), precision):
        copy_from_other_run(found, folder)
        return
    with open_atomic_folder(folder) as beside:
        _write_empty(beside, encoder, ids, rows, precision)


def _write_empty(
    folder: Path, encoder: Encoder, ids: Sequence[str], rows: int, precision: VectorDtype
) -> None:
    path = folder / "vectors.npy"
    shape = (rows, encoder.dimensions)
    np.lib.format.open_memmap(path, "w+", np.dtype(precision), shape).flush()
    reserve_room(path, path.stat().st_size)
    if rows:
        mark_growing(path)
    write_json_list(folder / "ids.json", ids)
    write_json(folder / "encoder.json", encoder.identity)
    write_json(folder / "done.json", {"rows": 0})


def _restore(
    folder: Path, encoder: Encoder, ids: Sequence[str], rows: int, precision: VectorDtype
) -> None:
    """Make a store of the parts that were copied of one which was lost with its machine."""
    path, done = folder / "vectors.npy", 0
    if not path.exists():
        restored = folder.with_name(f"{folder.name}-restored.part")
        shutil.rmtree(restored, ignore_errors=True)  # of a process that was killed
        with open_atomic_folder(restored) as beside:
            _write_empty(beside, encoder, ids, rows, precision)
            vectors = np.lib.format.open_memmap(beside / path.name, "r")
            ranges = [*restore_parts(path, beside / path.name)]
            for start, end in (_find_rows(vectors, *of) for of in ranges):
                for chunk in range(start, end, CHUNK):
                    record_chunk(beside, chunk // CHUNK, vectors[chunk : min(chunk + CHUNK, end)])
                done = end if start == done else done
            write_json(beside / "done.json", {"rows": done})
        _LOG.info("%s: %d of %d vectors are taken from the run's store", folder, done, rows)
        shutil.rmtree(folder)
        os.replace(restored, folder)
    remove_parts(path)


def _find_rows(vectors: Vectors, start: int, end: int) -> tuple[int, int]:
    """Find the rows that lie in a range of the file's bytes."""
    head, size = vectors.offset, vectors.strides[0]  # type: ignore[attr-defined]
    return (start - head) // size, (end - head) // size


def _fill(
    folder: Path,
    job: WorkerJob[Any, Vectors],
    starts: Sequence[int],
    workers: Workers,
    mirror: Mirror = NO_MIRROR,
) -> None:
    """Write the chunks that begin at these rows, as they come. Each is committed by its checksum;
    the count of rows follows as far as all chunks before are there."""
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "r+")
    done, total = int(read_json(folder / "done.json")["rows"]), len(vectors)
    left = sum(min(CHUNK, total - start) for start in starts)
    chunks = {start: min(start + CHUNK, total) for start in range(done, total, CHUNK)}
    missing = {*starts}
    ends = {start: end for start, end in chunks.items() if start not in missing}
    mark_growing(folder / "vectors.npy")
    _copy_parts(mirror, vectors, 0, done)
    done = _note_done(folder, mirror, vectors, done, ends)  # a killed process may not have
    notes = ExecutionNotes(folder / _EXECUTION, f"job {job.name!r}", folder, workers)
    with workers.begin(job) as team, Interrupt("vectors") as interrupt:
        with Progress(
            job.name, total, "texts", total - left, requests_a_unit=1, tell=lambda: team.note
        ) as progress:
            for number, values, _ in team.iterate_results(lambda: interrupt.is_requested):
                notes.note_devices(team.describe())
                start, rows = starts[number], values[0]
                ends[start] = start + len(rows)
                vectors[start : ends[start]] = rows
                vectors.flush()
                record_chunk(folder, start // CHUNK, vectors[start : ends[start]])
                done = _note_done(folder, mirror, vectors, done, ends)
                progress.advance(len(rows))
            notes.add(team.describe())
        interrupt.stop_if_requested()
    mark_whole(folder / "vectors.npy")
    note_verified_chunks(folder)
