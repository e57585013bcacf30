"""Similarity loss: the teacher's similarities among the texts of a batch."""

from torch import Tensor
from torch.nn import functional as F

from distill.train.objectives.inputs import check_shape


def compare_similarity_matrices(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the mean squared error between the student's and the teacher's cosine of every two
    texts of the batch (Jasper's similarity loss, 2412.19048). It asks for no common space, so any
    width will do; memory grows with the square of the texts.

    Args:
        student: (texts, dimensions).
        teacher: (texts, teacher dimensions).
    """
    check_shape("student's vectors", student, len(teacher), student.shape[-1])
    return F.mse_loss(_compute_cosines(student), _compute_cosines(teacher))


def _compute_cosines(vectors: Tensor) -> Tensor:
    unit = F.normalize(vectors.float(), dim=-1)
    return unit @ unit.T
