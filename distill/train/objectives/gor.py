"""Global orthogonal regularisation: a loss that spreads vectors over the sphere."""

from collections.abc import Sequence

from sentence_transformers.sentence_transformer.losses import GlobalOrthogonalRegularizationLoss
from torch import Tensor

from distill.train.objectives.inputs import check_columns

_LIBRARY = GlobalOrthogonalRegularizationLoss(None)  # type: ignore[arg-type]  # of vectors, it asks no model


def compute_gor(vectors: Sequence[Tensor]) -> Tensor:
    """Compute the global orthogonal regularisation (Zhang et al. 2017, 1708.06320; EmbeddingGemma):
    texts of the same column should be as similar as random directions, of mean 0 and second moment
    1 / dimensions. The mean over the columns, each (batch, dimensions); a scalar."""
    check_columns(vectors, least=1)
    terms = _LIBRARY.compute_loss_from_embeddings([column.float() for column in vectors])
    return terms["gor_mean"] + terms["gor_second_moment"]
