"""Alignment: a loss of the distance between the student's vectors and the teacher's."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.train.objectives.inputs import check_shape


def compute_alignment(
    student: Tensor, teacher: Tensor, distance: Literal["cosine", "l2"] = "cosine"
) -> Tensor:
    """Compute the mean distance between rows; both (texts, teacher dimensions). Scalar.

    cosine: 1 - cos (jina-v5); l2: the squared Euclidean distance (LEAF, 2509.12539), which is
    twice as much between unit vectors, but also asks a projected one for its length.
    """
    check_shape("student's vectors", student, *teacher.shape)
    if distance == "l2":
        return (student.float() - teacher.float()).square().sum(-1).mean()
    return (1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1)).mean()


def make_projection(student: int, teacher: int, seed: int) -> nn.Module:
    """Make a projection from student to teacher, as in jina-v5: from teacher to student, trained
    along, it would not train. Where the widths agree there is none. Without bias: a bias could hold
    what all teacher vectors have in common, and the student would not need to learn it."""
    if student == teacher:
        return nn.Identity()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(student, teacher, bias=False)
