"""A run's passages as they are searched, those of held-out documents among them: by a model of the
run, by BM25, and by both. `distill search` and the exported index rank by this one code."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from distill.corpus.held_out import HELD_OUT_PASSAGES
from distill.embed.encoder import Encoder
from distill.embed.vectors.vector_store import VectorStore
from distill.evaluate.models.eval_model import EvalModel
from distill.recipe import BM25
from distill.retrieve.bm25 import BM25Index, open_bm25
from distill.retrieve.corpus_index import embed_corpus, has_corpus_vectors
from distill.retrieve.exact import NO_RESULT, ExactIndex
from distill.retrieve.fusion import HYBRID_DEPTH, rank_hybrid
from distill.store.local_name import name_model
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import Stage, open_stage
from distill.text.format import Side

RankedRows = list[tuple[int, float]]
"""Row numbers of passages with their scores, best first."""


def open_searched_stages(folder: Path) -> list[Stage]:
    """Open the stages whose passages a search of a run ranks: those that are trained on, and behind
    them those of held-out documents, which are a part of the corpus too."""
    passages, held_out = open_stage(folder / "passages"), folder / HELD_OUT_PASSAGES
    if not (held_out / ".stage" / "manifest.json").is_file():
        return [passages]
    other = open_stage(held_out)
    # What an earlier share held out may stand there still.
    belongs = other.complete and other.manifest["settings"] == passages.manifest["settings"]
    return [passages, other] if belongs else [passages]


class PassageSearch:
    """Exact search in the passages of an open run. A vector that is in the run's store is not
    computed again.

    Args:
        run: as `open_to_read` opens it.
        default_task: of the student, which a model that is instructed is told.
        bm25: settings of the index over words.
        stages: as `open_searched_stages` opens them; rows are counted through all of them.
    """

    def __init__(self, run: Run, default_task: str, bm25: BM25, stages: Sequence[Stage]) -> None:
        self._run = run
        self._default_task = default_task
        self._bm25 = bm25
        self._stages = stages
        self.passages = PassageReader(*(stage.folder for stage in stages))

    def rank_by_vectors(self, model: EvalModel, query: str, count: int) -> RankedRows:
        """Rank by cosine. A model that is instructed gets the student's default task: a search has
        no task of its own."""
        stores = self.get_vectors(model)
        query_vectors = make_encoder(model).encode([query], "query", [self._default_task])
        ranked: RankedRows = []
        first = 0
        for store in stores:
            (scores,), (rows,) = ExactIndex(store.vectors).search(query_vectors, count)
            ranked += zip((rows + first).tolist(), scores.tolist(), strict=True)
            first += len(store.ids)
        return sorted(ranked, key=lambda hit: -hit[1])[:count]

    def rank_by_words(self, query: str, count: int) -> RankedRows:
        """Rank by BM25 those that share a word with the query."""
        (scores,), (rows,) = self.bm25.search([query], count)
        ranked = zip(rows.tolist(), scores.tolist(), strict=True)
        return [(row, score) for row, score in ranked if row != NO_RESULT]

    def rank_by_both(self, model: EvalModel, query: str, count: int) -> RankedRows:
        """Rank by the hybrid of model and BM25, as evaluation ranks `student + bm25`."""
        depth = max(count, HYBRID_DEPTH)
        dense = self.rank_by_vectors(model, query, depth)
        return rank_hybrid(dense, self.rank_by_words(query, depth), count)

    def get_vectors(self, model: EvalModel) -> list[VectorStore]:
        """Return the passages' vectors by the model, or by the one that embeds its documents: a
        store for each stage."""
        encoder = make_encoder(model.documents or model)
        return [embed_corpus(self._run, encoder, stage) for stage in self._stages]

    def has_vectors(self, model: EvalModel) -> bool:
        """Return whether the run's store has the vectors of the passages that are trained on
        already."""
        encoder = make_encoder(model.documents or model)
        return has_corpus_vectors(self._run, encoder, self._stages[0])

    @cached_property
    def bm25(self) -> BM25Index:
        """The recipe's BM25 index over the passages."""
        first, *others = self._stages
        return open_bm25(self._run, first, self._bm25, *others)


def make_encoder(model: EvalModel) -> Encoder:
    """Make the encoder of a run's model. Its identity is as the retriever's, whose vectors of the
    passages serve where it is the same model."""
    wording, named = model.prompts.wording, model.prompts.named
    identity: dict[str, str | int] = {
        "model": name_model(model.reference),
        "revision": model.revision,
        "max_tokens": model.max_tokens or "all",
        **model.departures,
    }
    if model.model is not None:
        return Encoder(model.embedder, wording, identity, model.reference)
    # A server's prompts are part of its identity, and no part of the texts that are stored. The
    # query's template is not part of it: it changes queries alone, and those are not stored.
    identity |= {f"{side}_prompt": named.get(side, "") for side in ("query", "document")}
    identity |= model.fields
    plain = dataclasses.replace(wording, document="")
    prompts: dict[Side, str] = {"document": wording.document}
    return Encoder(model.embedder, plain, identity, model.reference, server_prompts=prompts)


@contextmanager
def open_to_read(folder: Path) -> Iterator[Run]:
    """Open a run to search it; of one that cannot be written, a passing folder that has its vectors
    and its BM25 indexes, and takes up what is not among them."""
    if os.access(folder, os.W_OK):
        with Run(folder) as run:
            yield run
        return
    with TemporaryDirectory() as passing, Run(Path(passing)) as run:
        for name in ("vectors", "bm25"):
            (run.folder / name).mkdir()
            for store in folder.glob(f"{name}/*"):
                (run.folder / name / store.name).symlink_to(store.resolve())
        yield run
