"""Fits the linear layer of a query encoder to the teacher's vectors, in closed form: the student
before training, to which the trained one is compared."""

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from distill.embed.encoder import Vectors
from distill.errors import UserError
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import Student, Teacher
from distill.runtime import processes
from distill.store.passages import PassageReader
from distill.store.stage import Stage
from distill.store.tables import join_passage
from distill.student.saving import move_into_place, save_beside
from distill.teacher.vectors import identify_teacher
from distill.text.format import PromptedText
from distill.train.data.sources import TrainingInputs
from distill.train.query_route import read_document_vectors

_log = logging.getLogger(__name__)
_FITTED = 2000
"""Passages that the layer is fitted to, evenly spread."""
_RIDGE = 0.01
"""Of the inputs' mean square: how strongly weights are drawn to zero."""


def make_fitted_base(
    student: Student, teacher: Teacher, inputs: TrainingInputs, base: Stage, device: str | None
) -> Stage:
    """Make the stage `fitted`: the untrained student with its linear layer fitted to the teacher's
    vectors. Training begins with it, and the evaluation compares the student with it, for the layer
    of the stage `base` is random and finds nothing. Every process calls this; the first writes.

    Raises:
        UserError: as `fit_projection`, and where the teacher's vectors cannot be read.
    """
    if inputs.passages is None:
        raise ValueError("no corpus of vectors: a recipe that fits a layer to them is refused")
    settings, made_of = fingerprint(teacher), [inputs.passages, base]
    with processes.let_main_go_first():
        # The student's own fingerprint holds all of this, and refuses what is stale.
        stage = inputs.run.open_stage("fitted", settings, made_of, replaces=True)
        complete = stage.complete
    if complete:
        return stage
    vectors = read_document_vectors(student, teacher, inputs)  # the processes meet in it, too
    assert vectors is not None, "a layer is fitted of a query encoder alone"
    with processes.let_main_go_first():
        if processes.is_main():
            model = load_sentence_model(base.folder, device)
            passages = PassageReader(inputs.passages.folder)
            cosine = fit_to_passages(model, student, passages, vectors)
            _log.info("training: the fitted layer has a cosine of %.3f with the teacher", cosine)
            move_into_place(stage, save_beside(stage, model))
            stage.finish(cosine_to_teacher=round(cosine, 4))
    return stage


def fingerprint(teacher: Teacher) -> dict[str, Any]:
    """Collect what changes the fitted layer beside the base and the corpus, whose prompts and texts
    are in their own fingerprints."""
    return {"teacher": identify_teacher(teacher, str(teacher.model))}


def fit_to_passages(
    model: SentenceTransformer, student: Student, passages: PassageReader, vectors: Vectors
) -> float:
    """Fit the model's linear layer to the teacher's vectors of passages, which the model reads as
    queries.

    Args:
        vectors: of all passages, in their order.

    Returns:
        The mean cosine of the fitted vectors with the teacher's.

    Raises:
        UserError: as `fit_projection`.
    """
    count = min(_FITTED, len(vectors))
    rows = np.linspace(0, len(vectors) - 1, count).round().astype(int).tolist()
    texts = [
        student.text_format.write_query(join_passage(row), student.default_task)
        for row in passages.read_rows(rows)
    ]
    return fit_projection(model, texts, np.asarray(vectors[rows], np.float32))


def fit_projection(
    model: SentenceTransformer, texts: list[PromptedText], vectors: Vectors
) -> float:
    """Set the linear layer behind the pooling so that the model's vectors of some texts come as
    near as they can to the teacher's (ridge regression, Hoerl and Kennard 1970), in place.

    Args:
        vectors: the teacher's unit vectors of the same texts, (texts, dimensions).

    Returns:
        The mean cosine of the fitted vectors with the teacher's.

    Raises:
        UserError: if the model has no such layer, or of another width than the teacher's vectors.
    """
    modules = list(model.children())
    place = next((at for at, module in enumerate(modules) if isinstance(module, Dense)), None)
    if place is None:
        raise UserError(
            "student.projection fitted",
            "the student has no linear layer to fit",
            f"set student.dimensions: {vectors.shape[1]}, the teacher's width",
        )
    linear = modules[place].linear
    assert isinstance(linear, nn.Linear)
    weight = linear.weight
    if weight.shape[0] != vectors.shape[1]:
        raise UserError(
            "student.projection fitted",
            f"the student has {weight.shape[0]} dimensions, and the teacher's vectors "
            f"{vectors.shape[1]}",
            f"set student.dimensions: {vectors.shape[1]}",
        )
    pooled = _encode(SentenceTransformer(modules=modules[:place], device=str(model.device)), texts)
    wanted = vectors.astype(np.float64)
    products = pooled.T @ pooled
    ridge = _RIDGE * np.trace(products) / len(products)
    solved = np.linalg.solve(products + ridge * np.eye(len(products)), pooled.T @ wanted)
    with torch.no_grad():
        weight.copy_(torch.from_numpy(solved.T))
    fitted = pooled @ solved
    fitted /= np.linalg.norm(fitted, axis=1, keepdims=True)
    return float((fitted * wanted).sum(axis=1).mean())


def _encode(model: SentenceTransformer, texts: list[PromptedText]) -> NDArray[np.float64]:
    """Embed texts that have one prompt: (texts, width) float64."""
    encoded = model.encode(
        [text.text for text in texts],
        prompt=texts[0].prompt if texts else "",
        convert_to_tensor=True,
        show_progress_bar=False,
    )
    encoded_rows: NDArray[np.float64] = encoded.cpu().double().numpy()
    return encoded_rows
