"""Soft labels as a distribution over each query's candidates."""

import math
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.recipe.sections.objective import KL
from distill.train.objectives.inputs import candidate_scores, mean_or_zero, standardize


def kl(vectors: Sequence[Tensor], scores: Tensor, settings: KL) -> Tensor:
    """Kullback-Leibler divergence from the scores' softmax over a query's positive and negatives to
    the student's, so that the whole ranking is learnt and not only its two ends.

    sentence-transformers' DistillKLDivLoss knows no missing score, and multiplies by the square of
    the student's temperature: at 0.05 next to nothing would be left beside the other terms. Here
    the divergence is in nats, as the contrast is.

    Args:
        vectors: one (batch, dimensions) of unit vectors a column: query, positive, negatives.
        scores: (batch, 1 + negatives); a candidate without one (NaN) is left out, and a list with
            fewer than two.

    Returns:
        The mean over the lists, a scalar; 0 if there is none.
    """
    student = candidate_scores(vectors, scores)
    lists = (~scores.isnan()).sum(1) > 1
    student, scores = student[lists], scores[lists].float()
    unknown = scores.isnan()
    target = _target(scores, settings)
    log_student = _masked(student / settings.student_temperature, unknown).log_softmax(-1)
    divergence = F.kl_div(log_student.masked_fill(unknown, 0), target, reduction="none").sum(-1)
    return mean_or_zero(divergence)


class TargetSoftness(NamedTuple):
    """Of `lists` distributions that are learnt, means: the likeliest candidate's probability, and
    the entropy in nats. At a probability near 1 they say which one is right, and no more."""

    lists: int
    top_probability: float
    entropy: float


def measure_softness(rows: Sequence[Sequence[float]], settings: KL) -> TargetSoftness | None:
    """How soft the labels of these lists of scores are; None where there is none."""
    tops, entropies = [], []
    for row in rows:
        known = [score for score in row if not math.isnan(score)]
        if len(known) < 2:
            continue
        target = _target(torch.tensor([known]), settings)[0]
        tops.append(float(target.max()))
        entropies.append(float(torch.special.entr(target).sum()))
    if not tops:
        return None
    return TargetSoftness(len(tops), round(mean(tops), 4), round(mean(entropies), 4))


def _target(scores: Tensor, settings: KL) -> Tensor:
    """(lists, candidates) scores to distributions; 0 for a candidate without a score."""
    unknown = scores.isnan()
    if settings.standardise:
        scores = standardize(scores)
    return _masked(scores / settings.temperature, unknown).softmax(-1)


def _masked(scores: Tensor, unknown: Tensor) -> Tensor:
    return scores.masked_fill(unknown, -torch.inf)
