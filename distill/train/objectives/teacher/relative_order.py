"""Relative similarity: a loss of the teacher's order of pairs of texts by their similarity."""

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.train.objectives.inputs import check_shape

MARGIN = 0.015
SAMPLES = 4096


def compute_relative_order(
    student: Tensor, teacher: Tensor, seed: int, samples: int = SAMPLES, margin: float = MARGIN
) -> Tensor:
    """Compute Jasper's relative similarity loss (2412.19048): of two pairs of texts, the one that
    the teacher finds more similar should be so to the student by a margin.

    The batch has O(texts^4) pairs of pairs; `samples` of them are drawn. They are drawn by
    a seed of their own, and not by torch's state, so that dropout does not depend on this term.

    Args:
        student: (texts, dimensions).
        teacher: (texts, teacher dimensions).

    Returns:
        The mean over those drawn whose pairs differ to the teacher, a scalar.
    """
    texts = len(teacher)
    check_shape("student's vectors", student, texts, student.shape[-1])
    if texts < 2:
        return student.sum() * 0
    first, second = (side.to(student.device) for side in _draw_pairs(texts, 2 * samples, seed))
    gap = _compare(teacher, first, second)
    students = _compare(student, first, second)
    hinge = (margin - gap.sign() * students).clamp(min=0)
    ordered = gap != 0
    return (hinge * ordered).sum() / ordered.sum().clamp(min=1)


def _draw_pairs(texts: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw `count` pairs of two different texts: a first, and a second some steps on from it."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(texts, (count,), generator=generator)
    steps = torch.randint(1, texts, (count,), generator=generator)
    return first, (first + steps) % texts


def _compare(vectors: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return by how much the first half's pairs are more similar than the second half's."""
    unit = F.normalize(vectors.float(), dim=-1)
    one, other = (unit[first] * unit[second]).sum(-1).chunk(2)
    return one - other
