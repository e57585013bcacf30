"""Diagnostics of the student in training: retrieval of held-out queries, and signs of collapse."""

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from distill.embed.encoder import Vectors
from distill.store.tables import Reader, Row
from distill.student.writing import StudentTexts
from distill.text.digests import digest_texts, number_digests
from distill.text.format import PromptedText
from distill.train.data.held_out import HeldOut
from distill.train.objectives.align import compute_alignment

_SAMPLE = 128
"""Examples on which signs of collapse are measured."""
SIGNS_OF_COLLAPSE = frozenset({"uniformity", "query_uniformity"})
"""A line of the training's log that has one of these is a validation's."""


@dataclass(frozen=True)
class Diagnostics:
    """Measures a student on a fixed sample of examples, and on the held-out queries, if any.
    `documents` are given for a query encoder: the unit vectors that it searches, by passage."""

    writer: StudentTexts
    sample: Sequence[Row]
    held_out: HeldOut | None
    documents: Mapping[str, Vectors] | None = None

    def compute(self, model: SentenceTransformer) -> dict[str, float]:
        """Measure the student as it is: `uniformity`, `effective_rank` and `alignment` (Wang and
        Isola 2020, section 4.1.1: the mean squared distance of a query and its positive) of the
        sample, and `ndcg@10` of the held-out queries. A query encoder embeds no document: see
        `_measure_queries`."""
        queries = embed_queries(self.writer, model, self.sample)
        if self.documents is not None:
            figures = self._measure_queries(queries, self.documents)
        else:
            positives = embed(
                model, [self.writer.write_document(row["positive"], row) for row in self.sample]
            )
            figures = {
                "uniformity": measure_uniformity(positives),
                "alignment": float(compute_alignment(queries, positives, "l2")),
                "effective_rank": measure_effective_rank(positives),
            }
        if self.held_out is not None:
            figures["ndcg@10"] = measure_ndcg(self.writer, model, self.held_out, self.documents)
        return {name: round(figure, 4) for name, figure in figures.items()}

    def _measure_queries(
        self, queries: Tensor, documents: Mapping[str, Vectors]
    ) -> dict[str, float]:
        """Measure a query encoder: uniformity and effective rank of its queries, and their
        alignment with the vectors of their positives, as far as these are in the corpus."""
        figures = {
            "query_uniformity": measure_uniformity(queries),
            "query_effective_rank": measure_effective_rank(queries),
        }
        ids = [row["positive_id"] for row in self.sample]
        inside = [number for number, id_ in enumerate(ids) if id_ in documents]
        if inside:
            vectors = np.stack([documents[ids[number]] for number in inside])
            positives = torch.from_numpy(vectors.astype(np.float32))
            figures["document_alignment"] = float(
                compute_alignment(queries[inside], positives, "l2")
            )
        return figures


def draw_sample(rows: Reader, seed: int) -> list[Row]:
    """Draw examples of distinct positives; of several examples of one the last counts."""
    numbers = number_digests(digest_texts(row["positive"] for row in rows)).numbers
    lasts = np.zeros(numbers.max(initial=-1) + 1, np.int64)
    np.maximum.at(lasts, numbers, np.arange(len(numbers)))
    draw = random.Random(f"{seed}|sight")
    return rows.read_rows(
        [int(lasts[n]) for n in draw.sample(range(len(lasts)), min(_SAMPLE, len(lasts)))]
    )


def measure_uniformity(vectors: Tensor) -> float:
    """Log of the mean Gaussian potential of all pairs (Wang and Isola 2020, section 4.1.2): 0 where
    all vectors are one, towards -4 where they are spread over the sphere."""
    if len(vectors) < 2:
        return 0.0
    return float(torch.pdist(vectors).square().mul(-2).exp().mean().log())


def measure_effective_rank(vectors: Tensor) -> float:
    """Compute the exponential of the entropy of the singular values' shares (Roy and Vetterli
    2007), the number of dimensions in use; 1 where all vectors lie on a line."""
    values = torch.linalg.svdvals(vectors)
    shares = values / values.sum()
    return math.exp(float(-(shares * shares.clamp(min=1e-12).log()).sum()))


def measure_ndcg(
    writer: StudentTexts,
    model: SentenceTransformer,
    held_out: HeldOut,
    documents: Mapping[str, Vectors] | None = None,
) -> float:
    """Measure nDCG@10 of the held-out queries. Each has one relevant passage, its positive, so the
    gain is 1 / log2(1 + rank) and the ideal one is 1.

    Args:
        documents: unit vectors of the held-out documents by their ids; None: the model's own.
    """
    place = {key: number for number, key in enumerate(held_out.documents)}
    queries = embed_queries(writer, model, held_out.queries)
    if documents is None:
        vectors = embed_documents(writer, model, list(held_out.documents.values()))
    else:
        known = [np.asarray(documents[key], np.float32) for key in held_out.documents]
        vectors = torch.from_numpy(np.stack(known))
    scores = queries @ vectors.T
    relevant = torch.tensor([place[row["positive_id"]] for row in held_out.queries])
    own = scores.gather(1, relevant[:, None])
    ranks = 1 + (scores > own).sum(1)
    return float(torch.where(ranks <= 10, 1 / torch.log2(1.0 + ranks), 0.0).mean())


def embed_queries(writer: StudentTexts, model: SentenceTransformer, rows: Sequence[Row]) -> Tensor:
    """Embed each query with its own task's prompt: (rows, dimensions)."""
    return embed(model, [writer.write_query(row) for row in rows])


def embed_documents(
    writer: StudentTexts, model: SentenceTransformer, texts: Sequence[str]
) -> Tensor:
    """Embed documents: (texts, dimensions)."""
    return embed(model, [writer.write_document(text) for text in texts])


def embed(model: SentenceTransformer, texts: Sequence[PromptedText]) -> Tensor:
    """Embed texts, (texts, dimensions) float32 on the CPU: those of one prompt together, as
    sentence-transformers takes one for a whole call."""
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        by_prompt[text.prompt].append(number)
    vectors = torch.empty(len(texts), int(model.get_embedding_dimension() or 0))
    for prompt, numbers in by_prompt.items():
        encoded = model.encode(
            [texts[i].text for i in numbers],
            prompt=prompt,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        vectors[numbers] = encoded.float().cpu()
    return vectors
