"""A run's passages in an evaluation: those that the run's store has vectors of are not embedded
again, which takes minutes, and which an endpoint would be paid for twice."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import Normalize

from distill.embed.encoder import Vectors
from distill.embed.vectors.vector_cache import Digests, hash_texts
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.passage_search import make_encoder, open_searched_stages
from distill.retrieve.corpus_index import embed_corpus, has_corpus_vectors
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import join_passage
from distill.teacher.vectors import TeacherRows
from distill.text.format import Side


class KnownDocuments:
    """The vectors that a run's store has of its passages by one model, found by the texts that an
    evaluation embeds. Nothing is read before the first text is looked for."""

    def __init__(self, run: Run, model: EvalModel) -> None:
        self._run = run
        self._model = model

    def find(
        self, digests: Digests, prompt: str, side: Side | None
    ) -> tuple[NDArray[np.int64], Vectors]:
        """Find the vectors of texts by their digests (`hash_texts`).

        Args:
            prompt: what stands before the texts; under another than the store's none is known.

        Returns:
            The places in `digests` of those that are known, (n,), and their vectors,
            (n, dimensions) float32.
        """
        dimensions = self._model.embedder.dimensions
        nothing = np.empty(0, np.int64), np.empty((0, dimensions), np.float32)
        is_alike = prompt == self._model.prompts.wording.before_documents
        if side != "document" or not is_alike or self._passages is None:
            return nothing
        known, rows, vectors = self._passages
        nearest = np.minimum(np.searchsorted(known, digests), len(known) - 1)
        places = np.flatnonzero(known[nearest] == digests)
        return places, vectors.take(torch.from_numpy(rows[nearest[places]])).numpy()

    @cached_property
    def _passages(self) -> "_Passages | None":
        """The passages in the store; None where the run has no corpus or no vectors of it, or has
        vectors of length one of a model that gives others."""
        folder = self._run.folder
        has_corpus = (folder / "passages" / ".stage" / "manifest.json").is_file()
        if not has_corpus or not _has_unit_vectors(self._model):
            return None
        encoder = make_encoder(self._model)
        stages = [
            stage
            for stage in open_searched_stages(folder)
            if has_corpus_vectors(self._run, encoder, stage)
        ]
        digests = np.concatenate([np.empty(0, np.uint64), *map(self._hash_passages, stages)])
        if not len(digests):
            return None
        stores = [embed_corpus(self._run, encoder, stage) for stage in stages]
        order = np.argsort(digests)
        return _Passages(digests[order], order, TeacherRows([store.vectors for store in stores]))

    def _hash_passages(self, stage: Stage) -> Digests:
        """Hash the passages of a stage as an evaluation writes them."""
        prompts = self._model.prompts

        def write() -> Iterator[str]:
            for row in PassageReader(stage.folder):
                if prompts.writes_titles:
                    yield prompts.write_document(row["text"], row["title"])
                else:
                    yield join_passage(row)

        return hash_texts(write())


def _has_unit_vectors(model: EvalModel) -> bool:
    if model.model is None:
        return model.embedder.normalizes
    return any(isinstance(module, Normalize) for module in model.model)


class _Passages(NamedTuple):
    """Digests of passages in order, the row of each, and the vectors by row."""

    digests: Digests
    rows: NDArray[np.int64]
    vectors: TeacherRows
