"""Fits the linear layer of a query encoder to the teacher's vectors, in closed form."""

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn

from distill.embed.encoder import Vectors
from distill.errors import UserError
from distill.recipe import Student
from distill.store.passages import PassageReader
from distill.store.tables import join_passage
from distill.text.format import PromptedText

_FITTED = 2000
"""Passages that the layer is fitted to, evenly spread."""
_RIDGE = 0.01
"""Of the inputs' mean square: how strongly weights are drawn to zero."""


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
