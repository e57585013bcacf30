"""Compare an exported file with the model: its vectors, or its score on a task. A
file that differs too much is refused."""

import warnings
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from distill.embed.encoder import Vectors
from distill.errors import UserError, need
from distill.export.model_source import ExportSource
from distill.store.tables import PASSAGES, QUERIES, join_passage, read_rows
from distill.tasks.data import keep_draws, load_data
from distill.text.format import Side

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

TextsBySide = dict[Side, list[str]]

FLOAT_COSINE = 0.999
"""Of every text."""
INT8_COSINE = 0.98
"""On average, where there is no task to rank on."""
INT8_LOSS = 0.01
"""Of the task's score, relative to the float model's."""

_RUN_TEXTS = 48
_SAMPLE_TEXTS = [
    "Yes.",
    "How do bees tell others about flowers?",
    "Bees dance to tell other bees where the flowers are: the angle says in which direction, the "
    "length of the dance how far.",
    "Tides follow the moon; the sea rises and falls twice a day. " * 12,
    "Unlike prose, def f(x): return x ** 2 has few words; naïve café, Zürich, 東京 have others.",
    "Longer than any limit. " * 400,
]


@dataclass(frozen=True)
class Parity:
    """The agreement of an exported file with its model: cosines to the model's vectors over some
    texts, and scores on a task if one was named."""

    texts: int
    cosine_mean: float
    cosine_min: float
    task: str | None = None
    metric: str | None = None
    score: float | None = None
    score_of_model: float | None = None

    @property
    def loss(self) -> float:
        """The share of the model's score that the file loses; below 0 if the file ranks better."""
        if self.score is None or self.score_of_model is None:
            return 0.0
        return 1 - self.score / self.score_of_model

    def __str__(self) -> str:
        cosine = f"cosine to the model over {self.texts} texts: mean {self.cosine_mean:.5f}, lowest"
        cosine += f" {self.cosine_min:.5f}"
        if self.score is None or self.score_of_model is None:
            return cosine
        return (
            f"{cosine}; {self.task} {self.metric}: {self.score:.4f} against the model's "
            f"{self.score_of_model:.4f}, loss {self.loss:.2%}"
        )


def sample_texts(source: ExportSource) -> TextsBySide:
    """Choose texts by side: the first of the run's queries and passages, and sentences of all
    lengths, also longer than the model reads."""
    queries, passages = list(_SAMPLE_TEXTS), list(_SAMPLE_TEXTS)
    if source.run is not None:
        query_rows = islice(read_rows(QUERIES, source.run / "queries"), _RUN_TEXTS)
        passage_rows = islice(read_rows(PASSAGES, source.run / "passages"), _RUN_TEXTS)
        queries += [row["query"] for row in query_rows]
        passages += [join_passage(row) for row in passage_rows]
    return {"query": queries, "document": passages}


def compare_vectors(
    model: SentenceTransformer, other: SentenceTransformer, texts: TextsBySide
) -> Parity:
    """Compute the cosines of the two models' vectors of each text, in batches with padding."""
    cosines = np.concatenate(
        [
            _compute_cosines(_embed(model, side, some), _embed(other, side, some))
            for side, some in texts.items()
        ]
    )
    # A vector that holds NaN is no vector: its cosine must not pass any comparison.
    cosines = np.nan_to_num(cosines, nan=-1.0)
    return Parity(len(cosines), float(cosines.mean()), float(cosines.min()))


def score_original(model: SentenceTransformer, task: "AbsTask") -> float:
    """Compute the model's main score on a task of mteb, of which a file may lose a share.

    Raises:
        UserError: if it is not above 0, and has no share to lose.
    """
    score = score_on_task(model, task)
    if not score > 0:
        raise UserError(
            f"task {task.metadata.name}",
            f"cannot tell what int8 loses: the model itself scores {score:.4f} on it",
            "name another with --task, or leave int8 out of --format",
        )
    return score


def add_task_score(
    parity: Parity, other: SentenceTransformer, task: "AbsTask", score_of_model: float
) -> Parity:
    """Add the file's main score on the task, next to the model's."""
    return replace(
        parity,
        task=task.metadata.name,
        metric=task.metadata.main_score,
        score=score_on_task(other, task),
        score_of_model=score_of_model,
    )


def refuse_float(parity: Parity, what: str) -> None:
    """Refuse a float export whose vectors differ from the model's.

    Raises:
        UserError: if any text's vector is another than the model's.
    """
    if parity.cosine_min < FLOAT_COSINE:
        raise _refuse(what, parity, f"every text's cosine must be {FLOAT_COSINE} or more")


def refuse_int8(parity: Parity, what: str) -> None:
    """Refuse an int8 export that ranks worse than the model.

    Raises:
        UserError: unless `is_int8_near`.
    """
    if not is_int8_near(parity):
        rule = f"at most {INT8_LOSS:.0%} of the score may be lost"
        if parity.task is None:
            rule = f"the mean cosine must be {INT8_COSINE} or more"
        raise _refuse(what, parity, rule)


def is_int8_near(parity: Parity) -> bool:
    """Return whether at most a hundredth of the task's score is lost; without a task, whether the
    vectors are near the model's on average."""
    if parity.task is None:
        return parity.cosine_mean >= INT8_COSINE
    return parity.loss <= INT8_LOSS


def _refuse(what: str, parity: Parity, rule: str) -> UserError:
    return UserError(
        what,
        f"is not the model that it was made from, nothing is written: {parity}; {rule}",
        "leave it out of --format, or use the sentence-transformers folder",
    )


def _embed(model: SentenceTransformer, side: Side, texts: list[str]) -> Vectors:
    # Not by `distill.embed`, which batches and writes prompts by itself: the exported file is
    # tested as others load and call it, by sentence-transformers alone.
    encode = model.encode_query if side == "query" else model.encode_document
    return encode(texts, batch_size=16, normalize_embeddings=True, show_progress_bar=False)


def _compute_cosines(ours: Vectors, theirs: Vectors) -> NDArray[np.float64]:
    cosines: NDArray[np.float64] = (ours.astype(np.float64) * theirs).sum(axis=1)
    return cosines


def score_on_task(model: SentenceTransformer, task: "AbsTask") -> float:
    """Compute the main score on a task with all its texts, or the same sample of them for every
    model."""
    mteb = need("mteb", "eval")
    quiet = {"show_progress_bar": False}
    load_data(task)
    with keep_draws(task), warnings.catch_warnings():
        # mteb calls a method of sentence-transformers by its former name.
        warnings.simplefilter("ignore", FutureWarning)
        result = mteb.evaluate(
            model,
            task,
            cache=None,
            co2_tracker=False,
            encode_kwargs={"batch_size": 32} | quiet,
            **quiet,
        )
    return float(result.task_results[0].get_score())
