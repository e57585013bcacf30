"""KL divergence: a loss of soft labels as a distribution over each query's candidates."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.recipe.sections.objective import KL
from distill.train.objectives.inputs import (
    average_or_zero,
    compute_candidate_scores,
    make_target,
    standardize,
)


def compute_kl(vectors: Sequence[Tensor], scores: Tensor, settings: KL) -> Tensor:
    """Compute the Kullback-Leibler divergence from the scores' softmax over a query's positive and
    negatives to the student's, so that the whole ranking is learnt and not only its two ends.

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
    student = compute_candidate_scores(vectors, scores)
    lists = (~scores.isnan()).sum(1) > 1
    student, scores = student[lists], scores[lists].float()
    unknown = scores.isnan()
    target = make_kl_target(scores, settings)
    logits = (student / settings.student_temperature).masked_fill(unknown, -torch.inf)
    log_student = logits.log_softmax(-1)
    divergence = F.kl_div(log_student.masked_fill(unknown, 0), target, reduction="none").sum(-1)
    return average_or_zero(divergence)


def make_kl_target(scores: Tensor, settings: KL) -> Tensor:
    """Make the distribution that is learnt of each list of soft scores. The seed passage's, which
    is not a scale, is not standardised.

    Args:
        scores: (lists, candidates); a candidate without one (NaN) gets the probability 0.
    """
    scaled = settings.standardise and settings.scores != "seed"
    return make_target(
        standardize(scores) if scaled else scores, settings.scores, settings.temperature
    )
