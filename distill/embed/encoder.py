"""Encoders: texts in, unit vectors out."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from distill.embed.local import (
    CPU_BATCH_TOKENS,
    GPU_BATCH_TOKENS,
    LocalEmbedder,
    Vectors,
    unit,
)
from distill.embed.open_model import computed_dtype, open_model
from distill.embed.wording import EmbedderPrompts
from distill.errors import UserError
from distill.recipe.sections.embedder import EmbedderConfig
from distill.store.local_name import name_model
from distill.text.format import Side

__all__ = [
    "CPU_BATCH_TOKENS",
    "GPU_BATCH_TOKENS",
    "Encoder",
    "SentenceTransformerEncoder",
    "Vectors",
    "computed_dtype",
    "unit",
]


class Encoder(Protocol):
    """`identity` changes whenever the vector of a whole text would: model, revision, length. What
    precedes a text is part of the whole text, and `wording` says it."""

    identity: dict[str, str | int]
    dimensions: int
    wording: EmbedderPrompts

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

    def __init__(self, reference: str, settings: EmbedderConfig) -> None:
        opened = open_model(reference, settings)
        self.model = opened.model
        self.wording = opened.wording
        self._reference, self._key = reference, settings.key("query_template")
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
        written = self.wording.write(texts, side, tasks)
        if side == "document" or self._embedder.pools_prompts:
            return self.encode_written(written, side)
        ends = [len(whole) - len(text) for whole, text in zip(written, texts, strict=True)]
        split = [(whole[:end], whole[end:]) for whole, end in zip(written, ends, strict=True)]
        return self._encode_split(split, side)

    def encode_written(self, texts: Sequence[str], side: Side) -> Vectors:
        """
        Raises:
            UserError: if the model leaves its prompts out of its vectors, and a whole query does
                not show where its prompt ends.
        """
        if self._embedder.pools_prompts:
            return unit(self._embedder.embed(texts, "", side))
        if side == "query" and not self.wording.shows_query:
            raise UserError(
                f"model {self._reference!r}",
                f"leaves a query's prompt out of its vector, and {self.wording.template!r} does "
                "not show where the task ends and the query begins",
                f"set {self._key} to a template with words or a line break between {{task}} and "
                "{query}; a student must have been trained with it as student.query_template",
            )
        return self._encode_split([self.wording.split(text, side) for text in texts], side)

    def _encode_split(self, split: Sequence[tuple[str, str]], side: Side) -> Vectors:
        """Of prompts and what follows them. The model leaves its prompt's tokens out, and counts
        them for a batch of one prompt."""
        by_prompt: dict[str, list[int]] = defaultdict(list)
        for number, (prompt, _) in enumerate(split):
            by_prompt[prompt].append(number)
        vectors = np.empty((len(split), self.dimensions), np.float32)
        for prompt, numbers in by_prompt.items():
            vectors[numbers] = self._embedder.embed([split[i][1] for i in numbers], prompt, side)
        return unit(vectors)
