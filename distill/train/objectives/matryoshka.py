"""Matryoshka: losses on the first dimensions of vectors too, so that cut vectors can be used."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LossTerms = dict[str, Tensor]


def average_over_widths(
    terms: Callable[[Sequence[Tensor]], LossTerms], vectors: Sequence[Tensor], widths: Sequence[int]
) -> LossTerms:
    """Return each term's mean over Matryoshka widths (2205.13147): vectors cut to their first
    dimensions, again at unit length. The encoder has run once for all of them."""
    by_width = [terms([_cut(column, width) for column in vectors]) for width in widths]
    return {name: torch.stack([of[name] for of in by_width]).mean() for name in by_width[0]}


def _cut(vectors: Tensor, width: int) -> Tensor:
    return F.normalize(vectors[:, :width].float(), dim=-1)
