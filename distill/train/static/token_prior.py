"""The vector of a token before any text says more: the teacher's vector of that token as a text of
its own."""

import numpy as np
from scipy.sparse import csr_array

from distill.embed.encoder import Vectors

_RARE = 1e-3
"""Share of a corpus' tokens at which a token has half of its weight (Arora et al. 2017, "A simple
but tough-to-beat baseline for sentence embeddings", section 3: 1e-3 to 1e-4)."""


def make_token_prior(counts: csr_array, numbers: list[int], alone: Vectors) -> Vectors:
    """Weigh the vectors of tokens as texts of their own by how rare each is in the texts, after
    their mean is taken off: what all have in common says nothing (Arora et al. 2017 take off the
    first principal component).

    Args:
        counts: (texts, tokens) of `count_tokens`.
        numbers: the tokens that can be written as a text.
        alone: their vectors, (numbers, dimensions).

    Returns:
        (tokens, dimensions) float32; 0 for a token that cannot be written alone.
    """
    prior = np.zeros((counts.shape[1], alone.shape[1]), np.float32)
    if not numbers:
        return prior
    weights = _RARE / (_RARE + measure_frequencies(counts)[numbers])
    prior[numbers] = (alone - alone.mean(axis=0)) * weights[:, None]
    return prior


def measure_frequencies(counts: csr_array) -> np.ndarray:
    """Measure each token's share of all texts' tokens: (tokens,). A row of `counts` has a text's
    tokens over the root of their number, and so sums up to that root."""
    total = counts.T @ counts.sum(axis=1)
    return np.asarray(total / max(total.sum(), 1.0))
