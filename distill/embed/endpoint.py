"""An encoder behind an OpenAI-compatible `/v1/embeddings` endpoint."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.embed.encoder import Vectors
from distill.embed.endpoint_client import EndpointClient
from distill.embed.wording import EmbedderPrompts, has_words
from distill.errors import UserError
from distill.recipe import EmbedderConfig
from distill.text.format import Side

_CHARACTERS = 4
"""A token's, by rule of thumb: the server alone has the tokenizer."""
_BATCH_TOKENS = 8192
_MOST_TEXTS = 32
"""In a request; text-embeddings-inference takes no more unless told to."""


class EndpointEncoder:
    """A model that a server embeds with.

    Texts are cut to about `max_tokens` and batched by a token budget, both counted as four
    characters a token; what the server refuses as too long is cut to what it takes. Of the model
    only the name is known, so the name, the prompts, the fields of requests and the length are its
    identity: where it is served from is none of it.

    Raises:
        UserError: from the constructor and from `encode`, if the server refuses the job or does not
            answer in spite of all retries, or gives what are no vectors.
    """

    def __init__(self, served: EmbedderConfig, model: str) -> None:
        self._client = EndpointClient(served, model)
        self._served = served
        self.wording = EmbedderPrompts(served.query_template)
        self._prompts: dict[Side, str] = {
            "query": "" if has_words(served.query_template) else served.query_prompt,
            "document": served.document_prompt,
        }
        self._characters = served.max_tokens * _CHARACTERS
        self._batch_characters = (served.batch_tokens or _BATCH_TOKENS) * _CHARACTERS
        self._most_texts = served.batch_texts or _MOST_TEXTS
        self.dimensions = self._client.first("dimensions", self.fields("document")).shape[1]
        self.identity: dict[str, str | int] = {
            "model": model,
            "revision": "served",
            "max_tokens": served.max_tokens,
            "query_prompt": served.query_prompt,
            "document_prompt": served.document_prompt,
            **served.fields_identity,
        }

    def fields(self, side: Side | None) -> dict[str, Any]:
        """Of a request, beside the model and its texts."""
        served = self._served
        if side is None:
            return {**served.document_extra_body, **served.extra_body}
        of_side = served.query_extra_body if side == "query" else served.document_extra_body
        return {**served.extra_body, **of_side}

    def encode(
        self, texts: Sequence[str], side: Side, tasks: Sequence[str] | None = None
    ) -> Vectors:
        return self.encode_written(self.wording.write(texts, side, tasks), side)

    def encode_written(self, texts: Sequence[str], side: Side) -> Vectors:
        """The prompts are part of the identity, and are put before the texts here."""
        return self.encode_under(self._prompts[side], texts, side)

    def encode_under(self, prompt: str, texts: Sequence[str], side: Side | None) -> Vectors:
        """Unit vectors of texts with the prompt before each."""
        sent = [prompt + text[: self._characters] for text in texts]
        vectors = np.empty((len(texts), self.dimensions), np.float32)

        def arrived(batch: list[int], found: NDArray[np.float64]) -> None:
            vectors[batch] = self._unit(found, [sent[i] for i in batch])

        self._client.embed(sent, self._batches(sent), self.fields(side), arrived)
        return vectors

    def _batches(self, texts: Sequence[str]) -> list[list[int]]:
        """Numbers of texts, longest first, so that what is sent together is of one length."""
        batches: list[list[int]] = []
        room = 0
        for i in sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i)):
            if not batches or len(batches[-1]) == self._most_texts or len(texts[i]) > room:
                batches.append([])
                room = self._batch_characters
            batches[-1].append(i)
            room -= len(texts[i])
        return batches

    def _unit(self, vectors: NDArray[np.float64], texts: list[str]) -> Vectors:
        if vectors.shape[1] != self.dimensions:
            raise UserError(
                self._client.url,
                f"gave {vectors.shape[1]} dimensions for model {self._client.model!r}, and "
                f"{self.dimensions} at first",
                "serve one model under this name",
            )
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(bad):
            raise UserError(
                self._client.url,
                f"gave a vector of zeros, or one that holds NaN or infinity, for a text of model "
                f"{self._client.model!r}: {texts[bad[0]][:80]!r}",
                "serve the model in float32 or bfloat16 (float16 overflows), or take the text out",
            )
        return (vectors / lengths).astype(np.float32)
