"""An encoder behind an OpenAI-compatible `/v1/embeddings` endpoint."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.errors import UserError
from distill.recipe import Served
from distill.retrieve.encoder import Side, Vectors
from distill.retrieve.endpoint_client import EndpointClient, Malformed

_CHARACTERS = 4
"""A token's, by rule of thumb: the server alone has the tokenizer."""
_BATCH_TOKENS = 8192
_MOST_TEXTS = 32
"""In a request; text-embeddings-inference takes no more unless told to."""


class EndpointEncoder:
    """A model that a server embeds with.

    Texts are cut to about `max_tokens` and batched by a token budget, both counted as four
    characters a token. Of the model only the name is known, so the name, the prompts and the length
    are its identity: where it is served from is none of it.

    Raises:
        UserError: from the constructor and from `encode`, if the server refuses the job or does not
            answer in spite of all retries, or gives what are no vectors.
    """

    def __init__(self, served: Served, model: str) -> None:
        self._client = EndpointClient(served, model)
        self._prompts: dict[Side, str] = {
            "query": served.query_prompt,
            "document": served.document_prompt,
        }
        self._concurrency = served.concurrency
        self._characters = served.max_tokens * _CHARACTERS
        self._batch_characters = (served.batch_tokens or _BATCH_TOKENS) * _CHARACTERS
        self.dimensions = self._client.embed(["dimensions"], _vectors).shape[1]
        self.identity: dict[str, str | int] = {
            "model": model,
            "revision": "served",
            "max_tokens": served.max_tokens,
            "query_prompt": served.query_prompt,
            "document_prompt": served.document_prompt,
        }

    def encode(self, texts: Sequence[str], side: Side) -> Vectors:
        return self.encode_under(self._prompts[side], texts)

    def encode_under(self, prompt: str, texts: Sequence[str]) -> Vectors:
        """Unit vectors of texts with the prompt before each."""
        sent = [prompt + text[: self._characters] for text in texts]
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        batches = self._batches(sent)
        with ThreadPoolExecutor(self._concurrency) as pool, self._client.job():
            done = pool.map(lambda batch: self._embed([sent[i] for i in batch]), batches)
            for batch, found in zip(batches, done, strict=True):
                vectors[batch] = found
        return vectors

    def _batches(self, texts: Sequence[str]) -> list[list[int]]:
        """Numbers of texts, longest first, so that what is sent together is of one length."""
        batches: list[list[int]] = []
        room = 0
        for i in sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i)):
            if not batches or len(batches[-1]) == _MOST_TEXTS or len(texts[i]) > room:
                batches.append([])
                room = self._batch_characters
            batches[-1].append(i)
            room -= len(texts[i])
        return batches

    def _embed(self, texts: list[str]) -> Vectors:
        vectors = self._client.embed(texts, _vectors)
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


def _vectors(reply: Any, count: int) -> NDArray[np.float64]:
    """The vectors of a reply in the order of the texts, (count, dimensions).

    Raises:
        Malformed: if it is no list of so many vectors, each with a number of its own.
    """
    try:
        found = {int(item["index"]): item["embedding"] for item in reply["data"]}
        size = len(reply["data"])
    except (KeyError, TypeError, ValueError):
        raise Malformed("a reply without data, index or embedding") from None
    if size != count or set(found) != set(range(count)):
        raise Malformed(f"{size} vectors, numbered {sorted(found)[:4]}..., for {count} texts")
    try:
        vectors = np.asarray([found[i] for i in range(count)], np.float64)
    except (TypeError, ValueError):
        raise Malformed("embeddings that are no lists of numbers of one length") from None
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise Malformed("embeddings that are no lists of numbers")
    return vectors
