"""Encoders: texts in, unit vectors out."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from distill.devices import DTYPES, best_device, torch_dtype
from distill.models import resolve, revision
from distill.retrieve.attention import check_bidirectional
from distill.retrieve.batches import by_length
from distill.sentence_models import load_sentence_model

CPU_BATCH_TOKENS = 1024
"""Larger batches fall out of a CPU's caches: 8,192 took twice as long on two cores."""
GPU_BATCH_TOKENS = 65_536

Side = Literal["query", "document"]
Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """`identity` changes whenever the vectors of a text would: model, revision, prompts, length."""

    identity: dict[str, str | int]
    dimensions: int

    def encode(self, texts: Sequence[str], side: Side) -> Vectors:
        """Unit vectors, float32, of shape (texts, dimensions)."""
        ...


class SentenceTransformerEncoder:
    """A sentence-transformers model, with the prompts that it carries.

    Texts are batched by a token budget, longest first, so that a batch wastes little padding.

    Args:
        dtype: float32, bfloat16 or auto, of weights and computation; vectors are float32 always.
        bidirectional: whether every token must see those behind it; None: where the model's own
            configuration says so.

    Raises:
        UserError: if the model cannot be had, or is causal though it must be bidirectional.
    """

    def __init__(
        self,
        reference: str,
        max_tokens: int = 256,
        device: str | None = None,
        batch_tokens: int | None = None,
        dtype: str = "float32",
        bidirectional: bool | None = None,
    ) -> None:
        self._dtype = computed_dtype(dtype, device)
        self.model = load_sentence_model(
            resolve(reference), device, model_kwargs={"dtype": DTYPES[self._dtype]}
        )
        check_bidirectional(self.model, reference, bidirectional)
        self._max_tokens = min(self.model.max_seq_length or max_tokens, max_tokens)
        self.model.max_seq_length = self._max_tokens
        self.dimensions = int(self.model.get_embedding_dimension() or 0)
        self.identity: dict[str, str | int] = {
            "model": reference,
            "revision": revision(reference),
            "max_tokens": self._max_tokens,
        }
        if self._dtype != "float32":
            self.identity["dtype"] = self._dtype
        on_cpu = self.model.device.type == "cpu"
        self._batch_tokens = batch_tokens or (CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)

    def encode(self, texts: Sequence[str], side: Side) -> Vectors:
        encode = self.model.encode_query if side == "query" else self.model.encode_document
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        lengths = self._lengths(texts)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for batch in by_length(lengths, self._batch_tokens):
            vectors[batch] = encode(
                [texts[i] for i in batch],
                batch_size=len(batch),
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        # A vector normalised in bfloat16 is a unit vector to two digits only.
        return vectors if self._dtype == "float32" else unit(vectors)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, prompt aside. Characters are no measure: code has half as many a
        token as prose."""
        tokenized = self.model.tokenizer(list(texts), truncation=True, max_length=self._max_tokens)
        return [len(ids) for ids in tokenized["input_ids"]]


def unit(vectors: Vectors) -> Vectors:
    """Each row divided by its length, which is summed in float64."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / lengths).astype(np.float32)


def computed_dtype(name: str, device: str | None) -> str:
    """float32 or bfloat16: `auto` is bfloat16 on a GPU that computes it natively."""
    if name != "auto":
        return name
    device = device or best_device()
    on_gpu = device.startswith("cuda")
    return "bfloat16" if on_gpu and torch_dtype("auto", device) is torch.bfloat16 else "float32"
