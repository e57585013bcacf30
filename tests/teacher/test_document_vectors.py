"""Vectors of the corpus that the user has already take the place of embedding it."""

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.fake_llm import make_numbered_passages
from helpers.passages import write_shard
from helpers.query_rows import make_filter_recipe
from helpers.tiny_models import TEXTS

from distill.embed.encoder import normalize_rows
from distill.embed.local import LocalEmbedder
from distill.embed.vectors import vector_store
from distill.errors import UserError
from distill.retrieve.corpus_index import embed_corpus, has_corpus_vectors
from distill.store.run import Run
from distill.store.tables import PASSAGES
from distill.teacher.document_vectors import import_document_vectors
from distill.teacher.vectors import open_teacher


@pytest.fixture
def settings(encoder_folder):
    return {"model": str(encoder_folder), "max_tokens": 32, "device": "cpu"}


@pytest.fixture
def vectors(settings):
    teacher = make_filter_recipe(teacher=settings).teacher
    return open_teacher(teacher, teacher.model).encode(TEXTS, "document")


IDS = [f"p{n}" for n in range(len(TEXTS))]


def write_npy(folder, vectors, ids=IDS):
    np.save(folder / "mine.npy", vectors)
    (folder / "mine.txt").write_text("\n".join(ids) + "\n")
    return folder / "mine.npy"


def write_parquet(folder, vectors, ids=IDS):
    pq.write_table(pa.table({"id": ids, "vector": list(vectors)}), folder / "mine.parquet")
    return folder / "mine.parquet"


def write_faiss(folder, vectors, ids=IDS, kind="Flat"):
    index = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    numbers = {"ids": np.arange(len(vectors))[::-1].copy()} if kind.startswith("IDMap") else {}
    (index.add_with_ids if numbers else index.add)(vectors, *numbers.values())
    faiss.write_index(index, str(folder / "mine.faiss"))
    (folder / "mine.txt").write_text("\n".join(ids) + "\n")
    return folder / "mine.faiss"


def write_faiss_lists(folder, vectors, ids=IDS):
    return write_faiss(folder, vectors, ids, "IVF2,Flat")


def write_faiss_numbers(folder, vectors, ids=IDS):
    return write_faiss(folder, vectors, ids, "IDMap,HNSW8,Flat")


def import_in(run, settings, path):
    made = make_filter_recipe(teacher={**settings, "document_vectors": str(path)})
    passages = make_numbered_passages(run, len(TEXTS))
    import_document_vectors(run, made.teacher, made.retriever, passages)
    return made, passages


@pytest.mark.parametrize(
    "write", [write_npy, write_parquet, write_faiss, write_faiss_lists, write_faiss_numbers]
)
def test_vectors_in_any_order_and_length_take_the_place_of_embedding(
    tmp_path, settings, vectors, write, monkeypatch
):
    path = write(tmp_path, 3 * vectors[::-1], IDS[::-1])
    with Run(tmp_path / "run") as run:
        made, passages = import_in(run, settings, path)
        monkeypatch.setattr(LocalEmbedder, "embed", None)  # whoever calls it fails
        store = embed_corpus(run, open_teacher(made.teacher, made.teacher.model), passages)
    np.testing.assert_allclose(store.vectors, vectors, atol=1e-6)


@pytest.mark.parametrize("others", [True, False])
def test_vectors_of_held_out_documents_are_taken_too_where_there_are_all(
    tmp_path, settings, vectors, others
):
    path = write_npy(tmp_path, vectors[: None if others else 8], IDS[: None if others else 8])
    with Run(tmp_path / "run") as run:
        made = make_filter_recipe(teacher={**settings, "document_vectors": str(path)})
        passages = make_numbered_passages(run, 8)
        held_out = run.open_stage("passages-held-out", {})
        rows = [
            {"passage_id": id_, "title": "", "text": text, "source": "test"}
            for id_, text in zip(IDS[8:], TEXTS[8:], strict=True)
        ]
        write_shard(PASSAGES, held_out.folder / "part-00000.parquet", rows)
        held_out.finish(rows=len(rows))
        import_document_vectors(run, made.teacher, made.retriever, passages, held_out)
        encoder = open_teacher(made.teacher, made.teacher.model)
        assert has_corpus_vectors(run, encoder, passages)
        assert has_corpus_vectors(run, encoder, held_out) is others


@pytest.mark.bad_input("vectors", "vectors of other count, width, order or model", "named")
@pytest.mark.parametrize(
    ("change", "ids", "message"),
    [
        (lambda v: v[:-1], IDS, "for 12 ids"),
        (lambda v: v[:-1], IDS[:-1], "no vector for 1 of 12 passages, such as 'p11'"),
        (lambda v: np.vstack([v, v[:1]]), [*IDS, "p0"], "mine.npy.* 2 vectors for the id 'p0'"),
        (lambda v: v.astype(str), IDS, "mine.npy.* values of the type <U"),
        (lambda v: v.astype(complex), IDS, "values of the type complex128"),
        (lambda v: v.astype(object), IDS, "cannot be read as vectors"),
        (lambda v: v[:, :16], IDS, "width 16, and .* gives 32"),
        (lambda v: v * 0, IDS, "is zero, or holds NaN"),
        (lambda v: np.where(np.arange(32) == 3, np.nan, v), IDS, "is zero, or holds NaN"),
        (lambda v: np.roll(v, 1, axis=0), IDS, "has a cosine of"),
    ],
    ids=[
        "count",
        "missing",
        "twice",
        "strings",
        "complex",
        "objects",
        "width",
        "zero",
        "nan",
        "order",
    ],
)
def test_vectors_that_are_not_the_teachers_are_refused(
    tmp_path, settings, vectors, change, ids, message
):
    path = write_npy(tmp_path, change(vectors), ids)
    with Run(tmp_path / "run") as run, pytest.raises(UserError, match=message):
        import_in(run, settings, path)
    assert not list((tmp_path / "run").glob("vectors/*"))


@pytest.mark.bad_input("vectors", "a compressed FAISS index, or a file that is none", "refused")
def test_faiss_index_without_the_teachers_own_vectors_is_refused(tmp_path, settings, vectors):
    path = write_faiss(tmp_path, vectors, kind="PQ4x2")
    with Run(tmp_path / "run") as run:
        with pytest.raises(UserError, match=r"mine\.faiss.*cosine"):
            import_in(run, settings, path)
        path.write_bytes(b"no index")
        with pytest.raises(UserError, match=r"mine\.faiss.*cannot be read as vectors"):
            import_in(run, settings, path)


@pytest.mark.bad_input("vectors", "a file of vectors that changed after its import", "refused")
def test_file_that_changed_after_its_import_is_refused(tmp_path, settings, vectors):
    with Run(tmp_path / "run") as run:
        import_in(run, settings, write_npy(tmp_path, vectors))
        import_in(run, settings, write_npy(tmp_path, vectors))  # the same again
        with pytest.raises(UserError, match="has changed since"):
            import_in(run, settings, write_npy(tmp_path, vectors * 1.001))


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def test_import_that_was_killed_takes_every_row_of_the_next_file(
    tmp_path, settings, vectors, monkeypatch
):
    record, noisy = vector_store.record_chunk, vectors + 0.003

    def kill(folder, start, rows):
        if start:  # the first chunk is committed
            raise Killed
        record(folder, start, rows)

    with Run(tmp_path / "run") as run:
        path = write_npy(tmp_path, vectors)
        with monkeypatch.context() as patch:
            patch.setattr(vector_store, "CHUNK", 4)
            patch.setattr(vector_store, "record_chunk", kill)
            with pytest.raises(Killed):
                import_in(run, settings, path)
        made, passages = import_in(run, settings, write_npy(tmp_path, noisy))
        store = embed_corpus(run, open_teacher(made.teacher, made.teacher.model), passages)
    np.testing.assert_allclose(store.vectors, normalize_rows(noisy), atol=1e-6)


def test_vectors_in_half_precision_are_imported_for_a_retriever_that_is_the_same_model(
    tmp_path, settings, vectors, monkeypatch
):
    path = write_npy(tmp_path, vectors)
    made = make_filter_recipe(
        teacher={**settings, "document_vectors": str(path)},
        retriever={**settings, "vectors": "float16"},
    )
    with Run(tmp_path / "run") as run:
        passages = make_numbered_passages(run, len(TEXTS))
        import_document_vectors(run, made.teacher, made.retriever, passages)
        encoder = open_teacher(made.teacher, made.teacher.model)
        monkeypatch.setattr(LocalEmbedder, "embed", None)  # whoever calls it fails
        store = embed_corpus(run, encoder, passages, made.retriever.vectors)
        embed_corpus(run, encoder, passages)
    assert store.vectors.dtype == np.float16
    np.testing.assert_allclose(store.vectors, vectors, atol=1e-3)


@pytest.mark.bad_input("vectors", "a file of vectors that is none", "named, with the two forms")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.npy", "none.npy: there is no such file"),
        ("none.parquet", "none.parquet: there is no such file"),
        ("alone.npy", "alone.npy: has no alone.txt with its ids"),
        ("pickled.npy", "cannot be read as vectors"),
        ("columns.parquet", "has no column vector; it has: id, embedding"),
    ],
)
def test_file_that_holds_no_vectors_is_refused(tmp_path, settings, name, says):
    (tmp_path / "pickled.txt").write_text("p0\n")
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "alone.npy", np.ones((1, 2)))
    pq.write_table(pa.table({"id": ["p0"], "embedding": [[1.0]]}), tmp_path / "columns.parquet")
    with Run(tmp_path / "run") as run, pytest.raises(UserError, match=says):
        import_in(run, settings, tmp_path / name)
