"""Texts under a prompt -> vectors as the model gives them: by a model in this process, or by a
server."""

import json
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from transformers import PreTrainedTokenizerBase

from distill.recipe import Served
from distill.retrieve.batches import by_length
from distill.retrieve.encoder import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS, Side, Vectors
from distill.retrieve.endpoint import EndpointEncoder

_CHARACTERS = 4
"""A token's, by rule of thumb, where there is no tokenizer to count with."""


class Embedder(Protocol):
    dimensions: int

    def identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        """Everything beside the text, and the model's revision, that changes its vector."""
        ...

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        """(texts, dimensions), float32."""
        ...


class LocalEmbedder:
    """A sentence-transformers model. Texts are batched by a token budget, longest first; vectors
    have the length that the model gives them, for classifiers see it."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model
        self.dimensions = int(model.get_embedding_dimension() or 0)
        on_cpu = model.device.type == "cpu"
        self._batch_tokens = CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS
        self._routed = any(isinstance(module, Router) for module in model.modules())

    def identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        found: dict[str, str | int] = {
            "prompt": prompt,
            "max_tokens": most_tokens(self.model) or "all",
            "dtype": str(self.model.dtype),
        }
        # Any other model reads both sides alike: a query that is a document too is encoded once.
        return found | ({"side": side or "none"} if self._routed else {})

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        lengths = self._lengths([prompt + text for text in texts])
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for batch in by_length(lengths, self._batch_tokens):
            vectors[batch] = self._encode([texts[i] for i in batch], prompt, side)
        return vectors

    def _encode(self, batch: list[str], prompt: str, side: Side | None) -> Vectors:
        encode: Any = self.model.encode
        if side is not None:
            encode = self.model.encode_query if side == "query" else self.model.encode_document
        vectors: Vectors = encode(
            batch, prompt=prompt, batch_size=len(batch), show_progress_bar=False
        )
        return vectors

    def _lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text, at least one. Models of word vectors have no such tokenizer."""
        tokenizer = self.model.tokenizer
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            return [len(text) // _CHARACTERS + 1 for text in texts]
        tokenized = tokenizer(texts, truncation=True, max_length=self.model.max_seq_length)
        return [max(1, len(ids)) for ids in tokenized["input_ids"]]


def most_tokens(model: SentenceTransformer) -> int | None:
    """How many tokens of a text a model reads; None: all."""
    length = model.max_seq_length
    return None if length is None or length == math.inf else int(length)


class EndpointEmbedder:
    """A model behind an OpenAI-compatible `/v1/embeddings` endpoint; its vectors have length one.

    Raises:
        UserError: from the constructor and from `embed`, if the server refuses or stays silent.
    """

    def __init__(self, served: Served, model: str) -> None:
        self._encoder = EndpointEncoder(served, model)
        self._max_tokens = served.max_tokens
        self.dimensions = self._encoder.dimensions

    def identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        fields = self._encoder.fields(side)
        sent = {"fields": json.dumps(fields, sort_keys=True)} if fields else {}
        return {"prompt": prompt, "max_tokens": self._max_tokens, **sent}

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        return self._encoder.encode_under(prompt, texts, side)
