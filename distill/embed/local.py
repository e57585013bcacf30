"""An embedder in this process.

The student in training and the parity check of an export call sentence-transformers themselves:
they have a model that nothing opened, and other batches than theirs would change last digits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from transformers import PreTrainedTokenizerBase

from distill.embed.batches import batch_by_length, get_default_batch_tokens
from distill.embed.encoder import Vectors
from distill.embed.open_model import OpenModel, find_max_tokens
from distill.errors import UserError
from distill.models.sentence_transformer import are_prompts_pooled
from distill.runtime.devices import raise_device_faults
from distill.runtime.out_of_memory import halve_on_out_of_memory
from distill.runtime.progress import count_requests
from distill.text.format import Side

_CHARACTERS = 4
"""Characters a token, by rule of thumb, where there is no tokenizer to count with."""


class LocalEmbedder:
    """A sentence-transformers model. Texts are batched by a token budget, longest first, so that a
    batch wastes little padding.

    Args:
        batch_tokens: the budget; None: what suits the device.
    """

    normalizes = False

    def __init__(self, opened: OpenModel, batch_tokens: int | None = None) -> None:
        self.model: SentenceTransformer = opened.model
        self._reference = opened.reference
        self._departures = opened.departures
        self.dimensions = int(self.model.get_embedding_dimension() or 0)
        self._batch_tokens = batch_tokens or get_default_batch_tokens(self.model.device.type)
        self._routed = any(isinstance(module, Router) for module in self.model.modules())
        self.pools_prompts = are_prompts_pooled(self.model)

    def describe_identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        """Return what changes a text's vector: prompt, length, dtype, settings (see `Embedder`)."""
        identity: dict[str, str | int] = {
            "prompt": prompt,
            "max_tokens": find_max_tokens(self.model) or "all",
            "dtype": str(self.model.dtype),
            **{key: value for key, value in self._departures.items() if key != "dtype"},
        }
        # Any other model reads both sides alike: a query that is a document too is encoded once.
        return identity | ({"side": side or "none"} if self._routed else {})

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        """Embed the texts behind the prompt, into vectors of the length that the model gives them:
        (texts, dimensions), float32.

        Raises:
            UserError: naming a text whose vector is not finite; for documents, if the model embeds
                queries alone.
        """
        self._check_side(side)
        lengths = self._count_lengths([prompt + text for text in texts])
        vectors = np.empty((len(texts), self.dimensions), np.float32)

        def encode(batch: Sequence[int]) -> None:
            vectors[batch] = self._encode([texts[i] for i in batch], prompt, side)
            count_requests(len(batch))

        where = f"model {self._reference!r}"
        with raise_device_faults(where):
            for batch in batch_by_length(lengths, self._batch_tokens):
                halve_on_out_of_memory(encode, batch, where, "batch_tokens")
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise UserError(
                f"model {self._reference!r}",
                f"gives a vector that holds NaN or infinity, in {self.model.dtype}, for the text "
                f"{texts[bad[0]][:80]!r}",
                "set dtype: float32 or bfloat16 (float16 overflows), or take the text out",
            )
        return vectors

    def _check_side(self, side: Side | None) -> None:
        first = self.model[0]
        if side == "document" and isinstance(first, Router) and side not in first.sub_modules:
            raise UserError(
                f"model {self._reference!r}",
                "embeds queries alone; another model embeds its documents",
                "evaluate or search it in its run, which pairs it with that model; README.md in "
                "its folder names it",
            )

    def _encode(self, batch: list[str], prompt: str, side: Side | None) -> Vectors:
        encode: Any = self.model.encode
        if side is not None:
            encode = self.model.encode_query if side == "query" else self.model.encode_document
        vectors: Vectors = encode(
            batch, prompt=prompt, batch_size=len(batch), show_progress_bar=False
        )
        return vectors

    def _count_lengths(self, texts: list[str]) -> list[int]:
        """Count the tokens of each text, at least one. Characters are no measure: code has half as
        many a token as prose. Models of word vectors have no such tokenizer."""
        tokenizer = self.model.tokenizer
        if not texts:
            return []
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            return [len(text) // _CHARACTERS + 1 for text in texts]
        tokenized = tokenizer(texts, truncation=True, max_length=find_max_tokens(self.model))
        return [max(1, len(ids)) for ids in tokenized["input_ids"]]
