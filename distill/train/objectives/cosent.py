"""CoSENT: a loss of the order of scored pairs of texts."""

from collections.abc import Sequence

from sentence_transformers.sentence_transformer.losses import CoSENTLoss
from torch import Tensor

from distill.train.objectives.inputs import check_columns, check_shape

_LIBRARY = CoSENTLoss(None)  # type: ignore[arg-type]  # of vectors, it asks no model


def compute_cosent(vectors: Sequence[Tensor], scores: Tensor) -> Tensor:
    """Compute CoSENT: of two pairs of the batch, the one with the higher score should have the
    higher cosine (kexue.fm/archives/8847). For pairs with graded similarity (STS).

    Args:
        vectors: the two columns of the pairs, each (batch, dimensions); more are not read.
        scores: (batch,); pairs without one (NaN) are left out.
    """
    rows, _ = check_columns(vectors, least=2)
    check_shape("scores", scores, rows)
    known = ~scores.isnan()
    pairs = [column.float()[known] for column in vectors[:2]]
    loss: Tensor = _LIBRARY.compute_loss_from_embeddings(pairs, scores[known].float())
    return loss
