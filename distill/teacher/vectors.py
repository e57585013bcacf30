"""A teacher's vectors: computed once, stored on disk, read by row."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from distill.embed.encoder import Encoder, Vectors
from distill.embed.open_embedder import identify_embedder, open_embedder
from distill.embed.published import look_up_published
from distill.embed.vectors.vector_store import VectorStore, embed
from distill.embed.wording import EmbedderPrompts, find_carried_template
from distill.files.read_sequence import ReadSequence
from distill.models.reference import resolve
from distill.models.sentence_transformer import read_prompts
from distill.models.sources.in_memory import is_object
from distill.recipe import Teacher
from distill.recipe.sections.embedder import PLAIN_QUERY
from distill.store.passages import PassageIds, PassageReader, PassageTexts
from distill.store.run import Run
from distill.store.tables import Row, join_passage
from distill.text.format import Side
from distill.workers.local import LOCAL
from distill.workers.protocol import Workers


def embed_with_teacher(
    run: Run,
    teacher: Teacher,
    queries: Mapping[str, str],
    *documents: Mapping[str, str],
    tasks: Mapping[str, str] | None = None,
    corpus: PassageReader | None = None,
) -> "TeacherRows":
    """Return the teacher's vectors of texts by id, read from the run's vector stores or computed
    into them. The corpus and each mapping have a store of their own: where the retriever is the
    teacher too, the corpus in table order is there already.

    The teacher has its own words before a text, not the student's.

    Args:
        tasks: of the queries by their ids, for a teacher that is told them.
        corpus: passages that are embedded too, without being held in memory.

    Returns:
        Rows in the order given: queries first, then the corpus, then each mapping of documents.
    """
    if teacher.model is None:
        raise ValueError("no teacher.model: a recipe that trains on one is refused without it")
    encoder = open_teacher(teacher, teacher.model, run.workers)

    def store(side: Side, ids: Sequence[str], whole: Sequence[str]) -> VectorStore:
        label = f"teacher's {side} vectors"
        root, workers, mirror = run.folder / "vectors", run.workers, run.mirror
        return embed(root, encoder, side, ids, whole, label, workers=workers, mirror=mirror)

    def write_passage(row: Row) -> str:
        return encoder.wording.write([join_passage(row)], "document")[0]

    whole_queries = _WrittenTexts(encoder.wording, "query", queries, tasks)
    stores = [store("query", list(queries), whole_queries)]
    if corpus is not None and len(corpus):
        written = PassageTexts(corpus, write_passage)
        stores.append(store("document", PassageIds(corpus), written))
    for texts in filter(None, documents):
        whole = _WrittenTexts(encoder.wording, "document", texts)
        stores.append(store("document", list(texts), whole))
    return TeacherRows([s.vectors for s in stores])


class _WrittenTexts(ReadSequence[str]):
    """Texts as an encoder reads them, prompts included, written when they are asked for."""

    def __init__(
        self,
        wording: EmbedderPrompts,
        side: Side,
        texts: Mapping[str, str],
        tasks: Mapping[str, str] | None = None,
    ) -> None:
        self._wording, self._side = wording, side
        self._texts, self._tasks = texts, tasks
        self._ids = list(texts)

    def __len__(self) -> int:
        return len(self._ids)

    def read(self, numbers: Sequence[int]) -> list[str]:
        """Write the texts with these numbers."""
        ids = [self._ids[number] for number in numbers]
        tasks = None if self._tasks is None else [self._tasks[id_] for id_ in ids]
        return self._wording.write([self._texts[id_] for id_ in ids], self._side, tasks)


def identify_teacher(settings: Teacher, model: str) -> dict[str, object]:
    """Collect the settings of a teacher that change its vectors, for fingerprints."""
    identity = identify_embedder(settings, model)
    if settings.base_url is not None:
        identity["query_prompt"] = settings.query_prompt
        identity["document_prompt"] = settings.document_prompt
        identity |= settings.fields_identity
    return identity


def uses_tasks(settings: Teacher) -> bool:
    """Return whether the teacher embeds a query differently for another task, as far as the
    settings and its published settings say. (What its files carry is known once it is open.)"""
    if settings.model is None:
        return False
    if is_object(settings.model):
        return open_teacher(settings, settings.model).wording.has_task
    if settings.query_template != PLAIN_QUERY or settings.query_prompt:
        return EmbedderPrompts(settings.query_template).has_task
    if settings.base_url is not None:
        return False
    published = look_up_published(settings.model, settings)
    return published.template is not None or _has_template(settings.model)


def _has_template(model: str) -> bool:
    """Return whether the model is a student of distill that was trained with instructions."""
    carried = read_prompts(resolve(model))
    template = find_carried_template(carried)
    return template is not None and EmbedderPrompts(template).has_task


def open_teacher(settings: Teacher, model: str, workers: Workers = LOCAL) -> Encoder:
    """Open one of the recipe's teachers.

    Args:
        workers: who will compute with it.

    Raises:
        UserError: if the model or the server is not available.
    """
    return open_embedder(settings, model, workers)


class TeacherRows:
    """Memory-mapped arrays read as one, (texts, dimensions), with consecutive row numbers."""

    def __init__(self, parts: Sequence[Vectors]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.dimensions = int(parts[0].shape[1])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, numbers: Tensor) -> Tensor:
        """Return the vectors of these rows: (n,) integers to (n, dimensions) float32, on the CPU.

        Raises:
            IndexError: for a number that is no row.
        """
        wanted = numbers.cpu().numpy()
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {len(self)}")
        vectors = np.empty((len(wanted), self.dimensions), np.float32)
        for start, part in zip(self.starts, self.parts, strict=False):
            inside = (start <= wanted) & (wanted < start + len(part))
            vectors[inside] = part[wanted[inside] - start]
        return torch.from_numpy(vectors)
