"""The objectives that a student is trained on: one term a file, each a function of vectors;
`objective` is their weighted sum."""

from distill.train.objectives.align import compute_alignment, make_projection
from distill.train.objectives.objective import CombinedLoss

__all__ = ["CombinedLoss", "compute_alignment", "make_projection"]
