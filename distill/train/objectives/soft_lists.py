"""A query's candidates with somebody's scores of them, of which some may be unknown (NaN)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.train.objectives.inputs import expect, expect_columns


def candidate_scores(vectors: Sequence[Tensor], scores: Tensor) -> Tensor:
    """The student's similarity of each query with its positive and negatives: (batch, candidates),
    as `scores`.

    Raises:
        ValueError: if there is no candidate, or as many scores as candidates are not given.
    """
    rows, _ = expect_columns(vectors, least=2)
    expect("scores", scores, rows, len(vectors) - 1)
    query, *documents = (column.float() for column in vectors)
    return torch.stack([(query * document).sum(-1) for document in documents], dim=1)


def standardised(scores: Tensor) -> Tensor:
    """Each row to mean 0 and standard deviation 1 over what is known of it; 0 where all of a row is
    the same. (batch, candidates); NaN stays NaN."""
    exact = scores.double()  # in float32 the rounding of equal scores would be a deviation too
    count = (~exact.isnan()).sum(1, keepdim=True).clamp(min=1)
    centred = exact - exact.nansum(1, keepdim=True) / count
    deviation = (centred.square().nansum(1, keepdim=True) / count).sqrt()
    return (centred / deviation.clamp(min=1e-9)).to(scores.dtype)


def mean_or_zero(values: Tensor) -> Tensor:
    """The mean, or of nothing 0 rather than NaN, with a gradient in both cases."""
    return values.sum() / max(values.numel(), 1)
