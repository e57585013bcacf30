"""A folder that searches a run's passages without distill: the query encoder, the passages'
vectors and texts, a BM25 index, and a README with ten lines of Python. Every file has an open
format, and none is a pickle."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.sparse import save_npz
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router

from distill.embed.vectors.vector_store import VectorDtype, VectorStore
from distill.errors import UserError
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.passage_search import (
    PassageSearch,
    make_encoder,
    open_searched_stages,
    open_to_read,
)
from distill.export.export import check_out, refuse_worse_student, write_beside
from distill.export.markdown import render_markdown
from distill.export.model_source import ExportSource, load_source, open_source
from distill.export.provenance import shorten_reference
from distill.export.query_side.sides import is_bag_of_tokens
from distill.files.atomic import write_json
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import BM25, Recipe, Student, Teacher
from distill.retrieve.bm25 import BM25Index
from distill.retrieve.fusion import HYBRID_DEPTH, HYBRID_SAMPLE, HYBRID_WEIGHTS
from distill.retrieve.terms import describe_terms
from distill.store.local_name import restore_paths
from distill.store.passages import PassageReader
from distill.store.shards import list_shards
from distill.store.stage import Stage, open_stage
from distill.store.tables import PASSAGES, read_arrow
from distill.teacher.vectors import identify_teacher
from distill.train.query_route import join_routes

_PROBE = ["A query to compare two models by.", "another one"]
_LEAST_COSINE = 0.9999
_CHUNK = 16_384
"""Vectors converted at once."""
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class _Source:
    """The parts of one run that an index is made from: `passages` are trained on, `searched` are
    these and those of held-out documents."""

    model: ExportSource
    run: Path
    recipe: Recipe
    passages: Stage
    searched: list[Stage]


def export_index(
    reference: str, out: Path, dtype: VectorDtype = "float32", force: bool = False
) -> None:
    """Write a folder from which a run's passages are searched as `distill search --hybrid` does.

    Passages that a student with both routes has not embedded yet are embedded, into the run's
    store. The vectors of a query encoder's passages are its teacher's, and must be there.

    Args:
        reference: a run.
        dtype: of the vectors in the folder; float16 is half as large, and may order near-ties in
            another way.
        force: whether a student is exported whose run says that it is worse than its base, or that
            was trained on other passages or another teacher than the run has now.

    Raises:
        UserError: if it is no run with passages and a student, they do not belong together, a
            query encoder's passages have no vectors, the student does not load without distill,
            or `out` holds something.
    """
    check_out(out)
    source = _open(reference)
    if not force:
        _refuse_other_origin(source)
        refuse_worse_student(source.run, source.recipe)
    encoder = _open_query_encoder(source.model)
    recipe = source.recipe
    task, settings = recipe.student.default_task, recipe.retriever.bm25
    models = load_run_models(RunModelSettings.select(recipe), {"student": source.model.folder})
    student = models["student"]
    with open_to_read(source.run) as run:
        search = PassageSearch(run, task, settings, source.searched)
        if student.documents is not None and not search.has_vectors(student):
            raise _explain_missing_vectors(source, student.documents)
        stores, bm25 = search.get_vectors(student), search.bm25
        with write_beside(out) as folder:
            _write_query_encoder(folder / "query_encoder", encoder, student, task)
            is_static = is_bag_of_tokens(encoder)
            if is_static:
                (folder / "encode.py").write_bytes((_TEMPLATES / "encode.py").read_bytes())
            _write_vectors(folder / "vectors.npy", stores, dtype)
            _write_bm25(folder, bm25, settings)
            _write_json(folder / "ids.json", [id_ for store in stores for id_ in store.ids])
            _write_json(folder / "fusion.json", _describe_fusion())
            _write_passages(folder / "passages.parquet", source.searched)
            _write_readme(folder, source, student, dtype, is_static)


def _open(reference: str) -> _Source:
    model = open_source(reference)
    if model.run is None or model.recipe is None:
        raise UserError(
            reference,
            "is a model, and an index holds the passages of a run",
            "name a folder that `distill run` has written",
        )
    folder = model.run / "passages"
    if not (folder / ".stage" / "manifest.json").is_file():
        raise UserError(
            str(model.run), "has no passages to search", "give the recipe some, with `corpus.path`"
        )
    passages = open_stage(folder)
    if not passages.complete:
        raise UserError(
            str(folder), "is not complete", f"distill run RECIPE --run {model.run} continues it"
        )
    return _Source(model, model.run, model.recipe, passages, open_searched_stages(model.run))


def _refuse_other_origin(source: _Source) -> None:
    """Refuse a student that was not trained on the passages and the teacher that the run has now.

    Raises:
        UserError: naming which of them changed.
    """
    manifest = open_stage(source.run / "student").manifest
    now = source.passages.fingerprint
    changed, recipe = None, source.recipe
    if manifest["inputs"].get("passages", now) != now:
        changed = "other passages than the run has now: the corpus has changed since"
    elif not _is_same_teacher(manifest["settings"].get("teacher"), recipe.student, recipe.teacher):
        changed = f"another teacher than the recipe names now ({recipe.teacher.model})"
    if changed is not None:
        raise UserError(
            str(source.run),
            f"its student was trained with {changed}",
            "train it again (distill run RECIPE --run RUN --overwrite stale), or add --force to "
            "export it with what the run has now",
        )


def _is_same_teacher(trained: Mapping[str, Any] | None, student: Student, teacher: Teacher) -> bool:
    """Return whether a query encoder was trained for the documents of the recipe's teacher; a
    student with both routes searches its own."""
    if student.route != "query" or teacher.model is None:
        return True
    now = identify_teacher(teacher, teacher.model)
    return trained in [json.loads(json.dumps(form)) for form in (now, restore_paths(now))]


def _explain_missing_vectors(source: _Source, documents: EvalModel) -> UserError:
    return UserError(
        str(source.run / "vectors"),
        f"has no vectors of the passages by {documents.reference!r}, which the student searches",
        f"distill run RECIPE --run {source.run} embeds them (a server may charge for it), or "
        "restore that folder",
    )


def _open_query_encoder(source: ExportSource) -> SentenceTransformer:
    """Load the student; of one with a route of queries that route alone, for the other is the
    teacher and may be large.

    Raises:
        UserError: if it needs distill's own code to load.
    """
    model = load_source(source)
    first = model[0]
    if isinstance(first, Router):
        route = first.sub_modules["query"]
        prompts = {name: prompt or "" for name, prompt in model.prompts.items()}
        queries = SentenceTransformer(modules=list(route.children()), prompts=prompts, device="cpu")
        model = join_routes(queries, None)
    for module in model.modules():
        if type(module).__module__.startswith("distill."):
            raise UserError(
                str(source.folder),
                f"has a module of distill ({type(module).__name__}), without which it does not "
                "load",
                "search it with `distill search`, or train a student with student.pooling: mean",
            )
    return model


def _write_query_encoder(
    folder: Path, encoder: SentenceTransformer, student: EvalModel, task: str
) -> None:
    """Write the query encoder, load it again, and compare it with the run's.

    Args:
        task: what a query's template is told.

    Raises:
        UserError: if it gives other vectors.
    """
    encoder.save_pretrained(str(folder), create_model_card=False)
    reloaded = load_sentence_model(folder, "cpu")
    own = reloaded.encode_query(_PROBE, normalize_embeddings=True, show_progress_bar=False)
    tasks = [task] * len(_PROBE)
    cosines = (np.asarray(own) * make_encoder(student).encode(_PROBE, "query", tasks)).sum(axis=1)
    if cosines.min() < _LEAST_COSINE:
        raise UserError(
            f"the query encoder in {folder}",
            f"gives other vectors than the student of the run (cosine {cosines.min():.4f})",
            "update sentence-transformers and transformers, and export again",
        )


def _write_vectors(path: Path, stores: Sequence[VectorStore], dtype: VectorDtype) -> None:
    shape = sum(len(store.ids) for store in stores), stores[0].vectors.shape[1]
    written = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
    place = 0
    for store in stores:
        for start in range(0, len(store.vectors), _CHUNK):
            chunk = store.vectors[start : start + _CHUNK]
            written[place : place + len(chunk)] = chunk
            place += len(chunk)
    written.flush()


def _write_bm25(folder: Path, bm25: BM25Index, settings: BM25) -> None:
    """Write the matrix, the vocabulary, and how a text is split into terms."""
    save_npz(folder / "bm25.npz", bm25.matrix)
    _write_json(folder / "vocabulary.json", bm25.vocabulary)
    made = {"method": "lucene", "k1": settings.k1, "b": settings.b}
    write_json(folder / "terms.json", made | describe_terms(settings.language))
    (folder / "terms.py").write_bytes((_TEMPLATES / "terms.py").read_bytes())


def _describe_fusion() -> dict[str, Any]:
    return {
        "method": "sum of weight * (score - mean) / standard deviation, of the first `sample`",
        "weights": HYBRID_WEIGHTS,
        "sample": HYBRID_SAMPLE,
        "depth": HYBRID_DEPTH,
    }


def _write_passages(path: Path, stages: Sequence[Stage]) -> None:
    """Write all passages into one Parquet file, a shard at a time."""
    with pq.ParquetWriter(path, PASSAGES.schema, compression="zstd") as writer:
        for shard in chain.from_iterable(list_shards(stage.folder) for stage in stages):
            writer.write_table(read_arrow(PASSAGES, shard))


def _write_readme(
    folder: Path, source: _Source, student: EvalModel, dtype: VectorDtype, is_static: bool
) -> None:
    documents = student.documents
    language = source.recipe.retriever.bm25.language
    text = render_markdown(
        "index.md.jinja",
        name=source.recipe.name,
        passages=len(PassageReader(*(stage.folder for stage in source.searched))),
        dimensions=student.dimensions,
        dtype=dtype,
        size=folder.joinpath("vectors.npy").stat().st_size / 1e6,
        documents=documents and shorten_reference(documents.reference),
        served=documents is not None and documents.model is None,
        document_prompt=(documents or student).prompts.get_prompt("document"),
        language=language,
        static=is_static,
        lines=(_TEMPLATES / f"search{'_static' if is_static else ''}.py.txt").read_text("utf-8"),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    """Write a large JSON file, without indents, as ASCII: it reads back in any locale."""
    path.write_text(json.dumps(value), encoding="ascii")
