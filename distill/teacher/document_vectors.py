"""Reads the vectors of the corpus that the user has already, in place of embedding it again."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill.embed.encoder import Encoder, Vectors, normalize_rows
from distill.embed.open_embedder import identify_embedder
from distill.embed.vectors.vector_store import VectorDtype, VectorStore, import_vectors
from distill.errors import UserError, need
from distill.files.checksums import digest_file
from distill.files.read import describe_search, parse_path
from distill.recipe import Retriever, Teacher
from distill.store.passages import PassageIds, PassageReader, PassageTexts
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import Row
from distill.teacher.vectors import open_teacher

_PROBES = 10
_FAISS = (".faiss", ".index")
_LEAST_COSINE = 0.99
"""Of a passage's vector with the model's own; batches and number types move a vector less."""


class StoredVectors(NamedTuple):
    """Vectors with the ids of their passages."""

    ids: list[str]
    vectors: Vectors


def import_document_vectors(
    run: Run,
    teacher: Teacher,
    retriever: Retriever,
    passages: Stage,
    held_out: Stage | None = None,
) -> None:
    """Put `teacher.document_vectors` into the run's store of the corpus' vectors.

    Args:
        retriever: reads them in another number type, where it is the same model.
        held_out: passages of held-out documents, whose vectors are taken too where the file has
            all of them; a search embeds them else.

    Raises:
        UserError: if the file cannot be read, lacks a passage or has one twice, has another width
            than the teacher, holds a vector that is zero or not finite, is not the teacher's, or
            has changed since it was imported into this run.
    """
    if teacher.document_vectors is None or teacher.model is None:
        return
    path = parse_path(teacher.document_vectors)
    stored = read_vectors(path)
    encoder = open_teacher(teacher, teacher.model, run.workers)
    precisions = _list_precisions(teacher, teacher.model, retriever)
    _import_stage(run, precisions, path, stored, passages, encoder)
    if held_out is not None and _has_all(stored, held_out):
        _import_stage(run, precisions, path, stored, held_out, encoder)


def _has_all(stored: StoredVectors, passages: Stage) -> bool:
    known = set(stored.ids)
    return all(id_ in known for id_ in PassageIds(PassageReader(passages.folder)))


def _import_stage(
    run: Run,
    precisions: list[VectorDtype],
    path: Path,
    stored: StoredVectors,
    passages: Stage,
    encoder: Encoder,
) -> None:
    reader = PassageReader(passages.folder)
    ids = PassageIds(reader)
    rows = _match_rows(path, stored.ids, ids)
    _check_width(path, stored.vectors, encoder)

    def write(row: Row) -> str:
        return encoder.wording.write_document(row["text"], row["title"])

    def read(part: slice) -> Vectors:
        vectors = np.asarray(stored.vectors[rows[part]], np.float32)
        _check_values(path, vectors, ids[part])
        return normalize_rows(vectors)

    texts = PassageTexts(reader, write)
    probes = _choose_probes(len(ids))
    own = encoder.encode_prompted([texts[row] for row in probes], "document")
    theirs = np.concatenate([read(slice(row, row + 1)) for row in probes])
    _check_model(
        str(path),
        theirs,
        own,
        [ids[row] for row in probes],
        "name the model, the prompts and the length that made these vectors, or take "
        "teacher.document_vectors out, so that the corpus is embedded again",
    )
    root, source = run.folder / "vectors", _digest_source(path)
    for precision in precisions:
        import_vectors(root, encoder, "document", ids, texts, read, source, precision)


def check_server_unchanged(store: VectorStore, encoder: Encoder, passages: Stage) -> None:
    """Compare ten vectors of the run's store with those that the teacher's server gives now: it may
    have changed its model under the same name since the corpus was embedded.

    Raises:
        UserError: if they differ.
    """
    reader = PassageReader(passages.folder)
    probes = _choose_probes(len(store.ids))
    texts = [
        encoder.wording.write_document(row["text"], row["title"])
        for row in reader.read_rows(probes)
    ]
    _check_model(
        f"the server of teacher.model {encoder.reference!r}",
        np.asarray(store.vectors[probes], np.float32),
        encoder.encode_prompted(texts, "document"),
        [store.ids[row] for row in probes],
        "it has changed its model since the corpus was embedded: serve the model that made the "
        "vectors, or begin a new run (--run), which embeds the corpus with the new one",
    )


def _list_precisions(teacher: Teacher, model: str, retriever: Retriever) -> list[VectorDtype]:
    """List the number types in which the run keeps the vectors: training and search read float32,
    and a retriever that is the same model may read float16."""
    if retriever.vectors == "float32" or "dense" not in retriever.sources:
        return ["float32"]
    same = identify_embedder(retriever, retriever.model) == identify_embedder(teacher, model)
    return ["float32", "float16"] if same else ["float32"]


def _digest_source(path: Path) -> str:
    """Compute the checksum of a file of vectors, and of its ids where they are beside it."""
    files = [path] if path.suffix == ".parquet" else [path, path.with_suffix(".txt")]
    return " ".join(digest_file(file) for file in files)


def check_vector_files(path: Path) -> None:
    """Check that a file of vectors is there, with its ids, and a .parquet file's columns.

    Raises:
        UserError: naming what is missing.
    """
    if not path.is_file():
        raise UserError(
            str(path),
            f"there is no such file{describe_search(path)}",
            "fix teacher.document_vectors, or take it out, so that the corpus is embedded",
        )
    if path.suffix == ".parquet":
        _check_columns(path)
        return
    ids = path.with_suffix(".txt")
    if not ids.is_file():
        raise UserError(
            str(path),
            f"has no {ids.name} with its ids",
            f"write {ids}: the id of each vector's passage on a line of its own, in their order",
        )


def _check_columns(path: Path) -> None:
    try:
        columns = pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return  # `read_vectors` says what is wrong with the file
    missing = [name for name in ("id", "vector") if name not in columns]
    if missing:
        raise UserError(
            str(path),
            f"has no column {' and no column '.join(missing)}; it has: {', '.join(columns)}",
            "name the column of the passages' ids id, and that of their vectors vector",
        )


def read_vectors(path: Path) -> StoredVectors:
    """Read vectors and their ids from .parquet, .npy or a FAISS index; .npy is memory-mapped.

    Raises:
        UserError: if a file or column is missing, cannot be read, or holds anything but numbers.
    """
    check_vector_files(path)
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path, columns=["id", "vector"])
            ids = [str(id_) for id_ in table["id"].to_pylist()]
            vectors = np.stack(table["vector"].to_numpy())
        else:
            ids = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
            vectors = _read_faiss(path) if path.suffix in _FAISS else _map_npy(path)
    except (OSError, KeyError, ValueError, RuntimeError, pa.ArrowException) as fault:
        raise UserError(
            str(path),
            f"cannot be read as vectors ({type(fault).__name__}: {str(fault)[:200]})",
            "give a .parquet file with the columns id and vector, all vectors of one width, or an "
            ".npy file or a .faiss index with the ids in a .txt file of the same name",
        ) from fault
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise UserError(
            str(path),
            f"holds vectors of shape {vectors.shape} for {len(ids)} ids",
            "give one vector for each id",
        )
    if vectors.dtype.kind not in "fiu":
        raise UserError(
            str(path),
            f"holds values of the type {vectors.dtype}, which are no numbers",
            "write the vectors as float32 or float16",
        )
    return StoredVectors(ids, vectors)


def _map_npy(path: Path) -> Vectors:
    vectors: Vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return vectors


def _read_faiss(path: Path) -> Vectors:
    """Read the vectors of a FAISS index in the order in which they were added, whatever numbers
    they were given there. Those of a compressed index are not the teacher's any more, which the
    comparison with the model tells."""
    faiss = need("faiss", "cpu")
    outer = faiss.read_index(str(path))  # owns the index inside it, and must outlive it
    numbered = isinstance(outer, faiss.IndexIDMap)
    index = faiss.downcast_index(outer.index) if numbered else outer
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()
    vectors: Vectors = index.reconstruct_n(0, index.ntotal)
    return vectors


def _match_rows(path: Path, stored: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Find each passage's row in the file."""
    row_of = {id_: row for row, id_ in enumerate(stored)}
    if len(row_of) < len(stored):
        repeated, times = Counter(stored).most_common(1)[0]
        raise UserError(
            str(path),
            f"has {times} vectors for the id {repeated!r}",
            "leave one vector for each id",
        )
    missing = [id_ for id_ in wanted if id_ not in row_of]
    if missing:
        raise UserError(
            str(path),
            f"has no vector for {len(missing)} of {len(wanted)} passages, such as {missing[0]!r}",
            "add them, or raise corpus.max_tokens if documents were split into passages",
        )
    return np.array([row_of[id_] for id_ in wanted], np.int64)


def _check_values(path: Path, vectors: Vectors, ids: Sequence[str]) -> None:
    bad = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
    if bad.any():
        raise UserError(
            str(path),
            f"the vector of passage {ids[int(bad.argmax())]!r} is zero, or holds NaN or infinity",
            "embed that passage again",
        )


def _choose_probes(count: int) -> list[int]:
    """Choose rows that are spread over the corpus."""
    return sorted({round(row) for row in np.linspace(0, count - 1, min(count, _PROBES))})


def _check_width(path: Path, vectors: Vectors, encoder: Encoder) -> None:
    if vectors.shape[1] != encoder.dimensions:
        raise UserError(
            str(path),
            f"holds vectors of width {vectors.shape[1]}, and {encoder.reference!r} gives "
            f"{encoder.dimensions}",
            "name the model that made them as teacher.model",
        )


def _check_model(
    where: str, stored: Vectors, own: Vectors, ids: Sequence[str], remedy: str
) -> None:
    """Compare a few stored vectors with those that the model gives now."""
    cosines = (stored * own).sum(axis=1)
    worst = int(cosines.argmin())
    if cosines[worst] < _LEAST_COSINE:
        raise UserError(
            where,
            f"the vector of passage {ids[worst]!r} has a cosine of {cosines[worst]:.3f} with the "
            "one that the teacher gives now",
            remedy,
        )
