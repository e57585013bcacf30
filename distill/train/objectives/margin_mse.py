"""MarginMSE: a loss of soft labels as margins between the positive and each negative."""

from collections.abc import Sequence

from torch import Tensor

from distill.recipe.sections.objective import MarginMSE
from distill.train.objectives.inputs import average_or_zero, compute_candidate_scores, standardize


def compute_margin_mse(vectors: Sequence[Tensor], scores: Tensor, settings: MarginMSE) -> Tensor:
    """Compute the mean squared error of the student's margins (Hofstätter et al., 2010.02666): the
    positive's similarity less a negative's. sentence-transformers' MarginMSELoss knows no missing
    score.

    Args:
        vectors: one (batch, dimensions) of unit vectors a column: query, positive, negatives.
        scores: (batch, 1 + negatives); a margin of which one end is unknown (NaN) is left out.

    Returns:
        The mean over the margins, a scalar; 0 if there is none.
    """
    student = compute_candidate_scores(vectors, scores)
    scores = scores.float()
    if settings.standardise:
        scores = standardize(scores)
    target = settings.scale * _compute_margins(scores)
    known = ~target.isnan()
    return average_or_zero((_compute_margins(student)[known] - target[known]).square())


def _compute_margins(scores: Tensor) -> Tensor:
    return scores[:, :1] - scores[:, 1:]
