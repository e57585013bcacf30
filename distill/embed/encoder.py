"""Encoders: turn queries and documents into unit vectors, with the prompts that their model reads.

An `Embedder` is a model, in this process (`local.py`) or behind a server (`endpoint.py`). An
`Encoder` is an embedder with its prompts, and is what retrieval, teachers and search use. An
evaluation chooses a prompt for each task, and uses the embedder itself.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distill.embed.wording import EmbedderPrompts
from distill.errors import UserError
from distill.text.format import Side
from distill.workers.protocol import WorkerNeeds

Vectors = NDArray[np.float32]
EncoderIdentity = dict[str, str | int]
"""Everything that changes the vector of a whole text, by name."""


class Embedder(Protocol):
    """A model that embeds texts behind a prompt."""

    dimensions: int
    normalizes: bool
    """Whether its vectors have length one; else classifiers see the length that the model gives."""
    pools_prompts: bool
    """Whether a prompt is read as any other words of the text."""

    def describe_identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        """Return everything beside the text, and the model's revision, that changes its vector."""
        ...

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        """Return (texts, dimensions), float32."""
        ...


class EncoderSource(Protocol):
    """A description of an encoder that can be sent to a worker, which opens the encoder from it."""

    @property
    def reference(self) -> str:
        """The model as errors name it."""
        ...

    @property
    def needs(self) -> WorkerNeeds:
        """What the worker needs for it."""
        ...

    def open(self) -> "Encoder":
        """Open the encoder."""
        ...


@dataclass
class Encoder:
    """An embedder with its prompts.

    Args:
        identity: changes whenever the vector of a whole text would: model, revision, length. A
            prompt is part of the whole text, unless a server's settings name it.
        reference, template_key: what errors call the model, and its `query_template`.
        server_prompts: what is put before the texts of a side where they are sent, and is part of
            the identity: a server's prompts are no part of the texts that are stored.
        source: by which workers open the same encoder; None where only this process has it.
        document_identity: of another encoder, where this one is known to give the same vectors of
            documents: those are taken where they are there.
    """

    embedder: Embedder
    wording: EmbedderPrompts
    identity: EncoderIdentity
    reference: str
    template_key: str = "query_template"
    server_prompts: Mapping[Side, str] = field(default_factory=dict)
    source: "EncoderSource | None" = None
    document_identity: EncoderIdentity | None = None

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        return self.embedder.dimensions

    def encode(
        self, texts: Sequence[str], side: Side, tasks: Sequence[str] | None = None
    ) -> Vectors:
        """Return unit vectors, float32, of shape (texts, dimensions), of texts without prompts.

        Args:
            tasks: of queries, one each, for a model that is instructed with them.
        """
        prompted = self.wording.write(texts, side, tasks)
        if side == "document" or self.embedder.pools_prompts:
            return self.encode_prompted(prompted, side)
        ends = [len(whole) - len(text) for whole, text in zip(prompted, texts, strict=True)]
        split = [(whole[:end], whole[end:]) for whole, end in zip(prompted, ends, strict=True)]
        return self._normalize(embed_split(self.embedder, split, side))

    def encode_prompted(self, texts: Sequence[str], side: Side) -> Vectors:
        """Return the same vectors of whole texts, as `wording.write` makes them.

        Raises:
            UserError: if the model leaves its prompts out of its vectors, and a whole query does
                not show where its prompt ends.
        """
        if self.embedder.pools_prompts:
            prompt = self.server_prompts.get(side, "")
            return self._normalize(self.embedder.embed(texts, prompt, side))
        if side == "query" and not self.wording.shows_query:
            raise UserError(
                f"model {self.reference!r}",
                f"leaves a query's prompt out of its vector, and {self.wording.template!r} does "
                "not show where the task ends and the query begins",
                f"set {self.template_key} to a template with words or a line break between "
                "{task} and {query}; a student must have been trained with it as "
                "student.query_template",
            )
        split = [self.wording.split(text, side) for text in texts]
        return self._normalize(embed_split(self.embedder, split, side))

    def _normalize(self, vectors: Vectors) -> Vectors:
        # Dividing a second time would change last digits.
        return vectors if self.embedder.normalizes else normalize_rows(vectors)


def embed_split(embedder: Embedder, split: Sequence[tuple[str, str]], side: Side) -> Vectors:
    """Embed pairs of a prompt and the text behind it, (pairs, dimensions), by a model that leaves
    its prompt's tokens out, and counts them for a batch of one prompt."""
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for number, (prompt, _) in enumerate(split):
        by_prompt[prompt].append(number)
    vectors = np.empty((len(split), embedder.dimensions), np.float32)
    for prompt, numbers in by_prompt.items():
        vectors[numbers] = embedder.embed([split[i][1] for i in numbers], prompt, side)
    return vectors


def normalize_rows(vectors: Vectors) -> Vectors:
    """Divide each row by its length, which is summed in float64. A row of zeros stays one: models
    of word vectors give it to a text of which they know no word, and it is like no other."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
