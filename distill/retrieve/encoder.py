"""Encoders: texts in, unit vectors out."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from distill.local_name import name_model
from distill.recipe.embedder import Embedder
from distill.retrieve.local import (
    CPU_BATCH_TOKENS,
    GPU_BATCH_TOKENS,
    LocalEmbedder,
    Vectors,
    unit,
)
from distill.retrieve.open_model import computed_dtype, open_model
from distill.retrieve.wording import Side, Wording

__all__ = [
    "CPU_BATCH_TOKENS",
    "GPU_BATCH_TOKENS",
    "Encoder",
    "SentenceTransformerEncoder",
    "Side",
    "Vectors",
    "computed_dtype",
    "unit",
]


class Encoder(Protocol):
    """`identity` changes whenever the vector of a whole text would: model, revision, length. What
    precedes a text is part of the whole text, and `wording` says it."""

    identity: dict[str, str | int]
    dimensions: int
    wording: Wording

    def encode(
        self, texts: Sequence[str], side: Side, tasks: Sequence[str] | None = None
    ) -> Vectors:
        """Unit vectors, float32, of shape (texts, dimensions), of texts with what the model reads
        before them. `tasks` are of queries, one each, for a model that is told them."""
        ...

    def encode_written(self, texts: Sequence[str], side: Side) -> Vectors:
        """The same of whole texts, as `wording.write` makes them."""
        ...


class SentenceTransformerEncoder:
    """A sentence-transformers model, with the prompts that it carries, or was published with, or
    that the settings name.

    Raises:
        UserError: if the model cannot be had, or does not do as it was published to.
    """

    def __init__(self, reference: str, settings: Embedder) -> None:
        opened = open_model(reference, settings)
        self.model = opened.model
        self.wording = opened.wording
        self._embedder = LocalEmbedder(opened, settings.batch_tokens)
        self.dimensions = self._embedder.dimensions
        self.identity: dict[str, str | int] = {
            "model": name_model(reference),
            "revision": opened.revision,
            "max_tokens": opened.max_tokens or "all",
        }
        self.identity |= opened.departures

    def encode(
        self, texts: Sequence[str], side: Side, tasks: Sequence[str] | None = None
    ) -> Vectors:
        return self.encode_written(self.wording.write(texts, side, tasks), side)

    def encode_written(self, texts: Sequence[str], side: Side) -> Vectors:
        if self._embedder.pools_prompts:
            return unit(self._embedder.embed(texts, "", side))
        # The model leaves its prompt's tokens out, and counts them for a batch of one prompt.
        by_prompt: dict[str, list[int]] = defaultdict(list)
        split = [self.wording.split(text, side) for text in texts]
        for number, (prompt, _) in enumerate(split):
            by_prompt[prompt].append(number)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for prompt, numbers in by_prompt.items():
            vectors[numbers] = self._embedder.embed([split[i][1] for i in numbers], prompt, side)
        return unit(vectors)
