"""An embedder behind an OpenAI-compatible `/v1/embeddings` endpoint."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.embed.encoder import Vectors
from distill.embed.endpoint.client import EndpointClient
from distill.errors import UserError
from distill.recipe import EmbedderConfig
from distill.runtime.progress import count_requests
from distill.text.format import Side

_CHARACTERS = 4
"""Characters a token, by rule of thumb: only the server has the tokenizer."""
_BATCH_TOKENS = 8192
_MOST_TEXTS = 32
"""Texts in a request; text-embeddings-inference takes no more by default."""


class EndpointEmbedder:
    """A model that a server embeds with; its vectors are divided by their length here.

    Texts are cut to about `max_tokens` and batched by a token budget, both counted as four
    characters a token; a text that the server refuses as too long is cut to what it takes.

    Raises:
        UserError: from the constructor and from `embed`, if the server refuses the job, does not
            answer in spite of all retries, or replies with something other than vectors.
    """

    normalizes = True
    pools_prompts = True

    def __init__(self, settings: EmbedderConfig, model: str) -> None:
        self._client = EndpointClient(settings, model)
        self._settings = settings
        self._characters = settings.max_tokens * _CHARACTERS
        self._batch_characters = (settings.batch_tokens or _BATCH_TOKENS) * _CHARACTERS
        self._most_texts = settings.batch_texts or _MOST_TEXTS
        self.dimensions = self._client.embed_first(
            "dimensions", self._make_fields("document")
        ).shape[1]

    def describe_identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        """Return what changes a text's vector: prompt, length and the fields of requests (see
        `Embedder`)."""
        fields = self._make_fields(side)
        sent = {"fields": json.dumps(fields, sort_keys=True)} if fields else {}
        return {"prompt": prompt, "max_tokens": self._settings.max_tokens, **sent}

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        """Return the server's vectors, normalized, of shape (texts, dimensions), float32."""
        sent = [prompt + text[: self._characters] for text in texts]
        vectors = np.empty((len(texts), self.dimensions), np.float32)

        def store(batch: list[int], received: NDArray[np.float64]) -> None:
            vectors[batch] = self._normalize(received, [sent[i] for i in batch])
            count_requests(len(batch))

        self._client.embed(sent, self._make_batches(sent), self._make_fields(side), store)
        return vectors

    def _make_fields(self, side: Side | None) -> dict[str, Any]:
        """Return the fields of a request, beside the model and its texts."""
        settings = self._settings
        if side is None:
            return {**settings.document_extra_body, **settings.extra_body}
        of_side = settings.query_extra_body if side == "query" else settings.document_extra_body
        return {**settings.extra_body, **of_side}

    def _make_batches(self, texts: Sequence[str]) -> list[list[int]]:
        """Group the numbers of texts, longest first, so that texts of one length are sent
        together."""
        batches: list[list[int]] = []
        room = 0
        for i in sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i)):
            if not batches or len(batches[-1]) == self._most_texts or len(texts[i]) > room:
                batches.append([])
                room = self._batch_characters
            batches[-1].append(i)
            room -= len(texts[i])
        return batches

    def _normalize(self, vectors: NDArray[np.float64], texts: list[str]) -> Vectors:
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
