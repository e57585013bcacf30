"""A teacher's vectors: computed once, kept on disk, read by row."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from distill.models import revision
from distill.recipe import Recipe, Teacher
from distill.retrieve.encoder import Encoder, SentenceTransformerEncoder, Side, Vectors
from distill.retrieve.endpoint import EndpointEncoder
from distill.retrieve.vectors import VectorStore, embed
from distill.run import Run


def teacher_vectors(
    run: Run, recipe: Recipe, queries: Mapping[str, str], *documents: Mapping[str, str]
) -> "TeacherRows":
    """The recipe's teacher's vectors of texts by id, from the run's vector stores or computed
    into them. Each mapping has a store of its own: where the retriever is the teacher too, the
    corpus in table order is there already.

    Texts go in as they are: the teacher puts its own prompts before them, not the student's.

    Returns:
        Rows in the order given: queries first, then each mapping of documents.
    """
    teacher = recipe.teacher
    if teacher.model is None:
        raise ValueError("no teacher.model: a recipe that trains on one is refused without it")
    encoder = open_teacher(teacher, teacher.model)

    def store(side: Side, texts: Mapping[str, str]) -> VectorStore:
        ids, label = list(texts), f"teacher's {side} vectors"
        return embed(run.folder / "vectors", encoder, side, ids, list(texts.values()), label)

    stores = [store("query", queries), *(store("document", texts) for texts in documents if texts)]
    return TeacherRows([s.vectors for s in stores])


def teacher_identity(settings: Teacher, model: str) -> dict[str, str | int]:
    """What of a teacher changes its vectors: for fingerprints. Of a served one the name is known,
    and the address is no part of it."""
    served = settings.base_url is not None
    found: dict[str, str | int] = {
        "model": model,
        "revision": "served" if served else revision(model),
        "max_tokens": settings.max_tokens,
    }
    if served:
        found["query_prompt"] = settings.query_prompt
        found["document_prompt"] = settings.document_prompt
        found |= settings.fields_identity
    return found


def open_teacher(settings: Teacher, model: str) -> Encoder:
    """One of the recipe's teachers.

    Raises:
        UserError: if the model or the server cannot be had.
    """
    if settings.base_url is not None:
        return EndpointEncoder(settings, model)
    return SentenceTransformerEncoder(
        model, settings.max_tokens, settings.device, settings.batch_tokens
    )


class TeacherRows:
    """Memory-mapped arrays as one, (texts, dimensions), numbered on from one to the next."""

    def __init__(self, parts: Sequence[Vectors]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.dimensions = int(parts[0].shape[1])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, numbers: Tensor) -> Tensor:
        """The vectors of these rows: (n,) integers to (n, dimensions) float32, on the CPU.

        Raises:
            IndexError: for a number that is no row.
        """
        wanted = numbers.cpu().numpy()
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {len(self)}")
        found = np.empty((len(wanted), self.dimensions), np.float32)
        for start, part in zip(self.starts, self.parts, strict=False):
            inside = (start <= wanted) & (wanted < start + len(part))
            found[inside] = part[wanted[inside] - start]
        return torch.from_numpy(found)
