"""Inputs that the losses share: checks of shapes, and lists of scores of which some are unknown
(NaN)."""

from collections.abc import Sequence

import torch
import torch.distributed
from sentence_transformers.util import get_world_size
from torch import Tensor

from distill.recipe.sections.objective import SoftScoreChoice


def check_shape(name: str, tensor: Tensor, *shape: int) -> None:
    """Check the shape of a loss's input.

    Raises:
        ValueError: if the tensor is of another shape; says which it has and which was expected.
    """
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: got {tuple(tensor.shape)}, expected {shape}")


def check_columns(vectors: Sequence[Tensor], least: int) -> tuple[int, int]:
    """Check the rows and dimensions that all columns have in common.

    Raises:
        ValueError: if there are fewer columns than `least`, or they differ in shape.
    """
    if len(vectors) < least:
        raise ValueError(f"columns of vectors: got {len(vectors)}, expected at least {least}")
    if vectors[0].ndim != 2:
        raise ValueError(f"column 0: got {tuple(vectors[0].shape)}, expected (batch, dimensions)")
    rows, width = vectors[0].shape
    for column, texts in enumerate(vectors):
        check_shape(f"column {column}", texts, rows, width)
    return rows, width


def compute_candidate_scores(vectors: Sequence[Tensor], scores: Tensor) -> Tensor:
    """Return the student's similarity of each query with its positive and negatives: (batch,
    candidates), as `scores`.

    Raises:
        ValueError: if there is no candidate, or as many scores as candidates are not given.
    """
    rows, _ = check_columns(vectors, least=2)
    check_shape("scores", scores, rows, len(vectors) - 1)
    query, *documents = (column.float() for column in vectors)
    return torch.stack([(query * document).sum(-1) for document in documents], dim=1)


def standardize(scores: Tensor) -> Tensor:
    """Standardize each row to mean 0 and standard deviation 1 over what is known of it; 0 where all
    of a row is the same. (batch, candidates); NaN stays NaN."""
    # In float32 the rounding of equal scores would be a deviation too, and MPS has no float64.
    exact = scores.cpu().double()
    count = (~exact.isnan()).sum(1, keepdim=True).clamp(min=1)
    centred = exact - exact.nansum(1, keepdim=True) / count
    deviation = (centred.square().nansum(1, keepdim=True) / count).sqrt()
    return (centred / deviation.clamp(min=1e-9)).to(scores)


def make_target(scores: Tensor, choice: SoftScoreChoice, temperature: float) -> Tensor:
    """Make the distribution that is learnt of each list of soft scores: their softmax; of `seed`,
    where the seed passage has 1 and the others 0, the scores as they are.

    Args:
        scores: (lists, candidates); a candidate without one (NaN) gets the probability 0.
    """
    unknown = scores.isnan()
    if choice == "seed":
        return scores.masked_fill(unknown, 0)
    return (scores / temperature).masked_fill(unknown, -torch.inf).softmax(-1)


def average_or_zero(values: Tensor) -> Tensor:
    """Return the mean, or of nothing 0 rather than NaN, with a gradient in both cases.

    Of several processes each has its own number of values. Each divides by the mean number, so that
    the average over the processes is the mean over all values. Every process must call this.
    """
    if get_world_size() == 1:
        return values.sum() / max(values.numel(), 1)
    count = torch.tensor(values.numel(), device=values.device)
    torch.distributed.all_reduce(count)
    return values.sum() * get_world_size() / count.clamp(min=1)
