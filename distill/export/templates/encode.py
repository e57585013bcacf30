"""The vectors of queries as this index's query encoder computes them: the mean of the tokens'
vectors, of length 1. It needs numpy, tokenizers and safetensors alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

_FOLDER = next((Path(__file__).parent / "query_encoder").rglob("tokenizer.json")).parent
_TOKENIZER = Tokenizer.from_file(str(_FOLDER / "tokenizer.json"))
_TOKENS = load_file(_FOLDER / "model.safetensors")["embedding.weight"]


def encode_query(query: str) -> NDArray[np.float64]:
    """Encode a query: (dimensions,), zeros of one without tokens."""
    return encode_queries([query])[0]


def encode_queries(queries: Sequence[str]) -> NDArray[np.float64]:
    """Encode queries: (queries, dimensions)."""
    encoded = _TOKENIZER.encode_batch_fast([*queries], add_special_tokens=False)
    vectors = np.zeros((len(queries), _TOKENS.shape[1]))
    for row, tokens in enumerate(encoded):
        _TOKENS[tokens.ids].sum(axis=0, out=vectors[row])
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
