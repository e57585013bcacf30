"""A query encoder: the teacher's vectors that it searches in training, and its saving as the query
route of a sentence-transformers model, beside the documents' route, which is the teacher."""

from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router

from distill.embed.document_route import note_document_encoder
from distill.embed.encoder import Vectors
from distill.embed.open_embedder import place_here
from distill.embed.open_model import OpenModel, open_model
from distill.embed.wording import PROMPT_NAMES
from distill.errors import UserError
from distill.files.atomic import commit_bytes
from distill.models.sentence_transformer import load_sentence_model
from distill.models.sources.in_memory import is_object
from distill.recipe import Student, Teacher
from distill.retrieve.corpus_index import embed_corpus
from distill.runtime import processes
from distill.store.stage import Stage
from distill.student.saving import save_beside
from distill.teacher.document_vectors import check_server_unchanged
from distill.teacher.vectors import open_teacher
from distill.text.format import DOCUMENT_TEMPLATE
from distill.train.data.sources import TrainingInputs
from distill.train.settings import TrainingSettings

_PROBE = ["A query to compare two models by.", "another one"]
_LEAST_COSINE = 0.999
"""Of a document's vector before saving and after loading."""


def read_document_vectors(
    student: Student, teacher: Teacher, inputs: TrainingInputs
) -> Vectors | None:
    """Read the teacher's vectors of the corpus from the run's store, or embed it; None but for a
    query encoder, which searches them."""
    passages = inputs.passages
    if student.route != "query":
        return None
    if teacher.model is None or passages is None:
        raise ValueError("no teacher or corpus: a recipe that searches them is refused")
    encoder = open_teacher(teacher, teacher.model, inputs.run.workers)
    with processes.let_main_go_first():
        store = embed_corpus(inputs.run, encoder, passages)
    if teacher.base_url is not None:
        check_server_unchanged(store, encoder, passages)
    return store.vectors


def save_query_route(
    stage: Stage, settings: TrainingSettings, queries: SentenceTransformer
) -> Path:
    """Save the model whose `encode_query` is the student and whose `encode_document` is the
    teacher. Where the teacher is behind a server, or an object of the program, or not to be saved
    (`saves_documents`), the folder has the query route alone, `encode_document` fails, and
    README.md says what embeds documents.

    Raises:
        UserError: if a route gives other vectors after loading.
    """
    teacher = settings.teacher
    remote = teacher.base_url is not None or is_object(str(teacher.model))
    alone = remote or not settings.saves_documents
    here = place_here(teacher, stage.workers)
    documents = None if alone else open_model(str(teacher.model), here)
    model = join_routes(queries, documents)
    part = save_beside(stage, model)
    reloaded = load_sentence_model(part, device="cpu")
    before, after = (m.encode_query(_PROBE, show_progress_bar=False) for m in (queries, reloaded))
    if not np.allclose(before, after, atol=1e-4):
        raise UserError(
            f"the trained query encoder in {part}",
            "does not give the same vectors after loading as the model that was trained",
            "update sentence-transformers and transformers, and run again: the trained weights are "
            "saved",
        )
    if documents is not None:
        _compare_documents(teacher, model, reloaded, part)
        note_document_encoder(part, documents.identity)
    else:
        commit_bytes(part / "README.md", _describe_documents(teacher).encode())
    return part


def _compare_documents(
    teacher: Teacher, model: SentenceTransformer, reloaded: SentenceTransformer, part: Path
) -> None:
    """Refuse a document route that is another after loading, such as a decoder whose attention is
    not in its files. Vectors of half precision differ in their last digits.

    Raises:
        UserError: naming the teacher.
    """
    before, after = (
        m.encode_document(_PROBE, normalize_embeddings=True, show_progress_bar=False)
        for m in (model, reloaded)
    )
    cosine = float((before * after).sum(axis=1).min())
    if cosine < _LEAST_COSINE:
        raise UserError(
            f"the teacher {teacher.model!r} as document route in {part}",
            f"gives other vectors after loading than before (cosine {cosine:.3f})",
            "update sentence-transformers and transformers, and run again (the trained weights are "
            "saved); or serve the teacher and set teacher.base_url",
        )


def load_query_route(model: SentenceTransformer, folder: Path) -> None:
    """Load the weights of a saved query encoder into a model of the same shape, in place."""
    router: Any = load_sentence_model(folder, device="cpu")[0]
    model.load_state_dict(router.sub_modules["query"].state_dict())


def join_routes(queries: SentenceTransformer, documents: OpenModel | None) -> SentenceTransformer:
    """Put two models behind one: sentence-transformers' Router, by `encode_query` and
    `encode_document`. Without the second, `encode_document` fails with the name of the route."""
    of_documents = (*PROMPT_NAMES["document"], DOCUMENT_TEMPLATE)
    prompts = {
        name: prompt
        for name, prompt in queries.prompts.items()
        if prompt is not None and name not in of_documents
    }
    prompts["document"] = ""
    if documents is None:
        router = Router({"query": _list_modules(queries)}, allow_empty_key=False)
    else:
        router = Router.for_query_document(
            query_modules=_list_modules(queries),
            document_modules=_list_modules(documents.model),
            default_route="query",
        )
        prompts["document"] = documents.wording.document
        if documents.wording.titled is not None:
            prompts[DOCUMENT_TEMPLATE] = documents.wording.titled.document_template
    return SentenceTransformer(
        modules=[router], prompts=prompts, similarity_fn_name="cosine", device="cpu"
    )


def _list_modules(model: SentenceTransformer) -> list[Any]:
    """List a model's modules in their order; all of them are sentence-transformers' own kind."""
    return list(model.children())


def _describe_documents(teacher: Teacher) -> str:
    where = "behind a server" if teacher.base_url is not None else "elsewhere"
    prompt = teacher.document_prompt
    before = f" Before each document stands {prompt!r}." if prompt else ""
    return (
        "# A query encoder\n\n"
        "`encode_query` of this sentence-transformers model embeds queries. Documents are embedded "
        f"by the model `{teacher.model}`, which is {where} and not in this folder: "
        f"`encode_document` fails.{before} Search an index of that model's vectors, by cosine.\n"
    )
