"""The texts of every process as one batch."""

from collections.abc import Sequence
from typing import NamedTuple

from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank, get_world_size
from torch import Tensor


class GatheredBatch(NamedTuple):
    """`columns`, one (all rows, dimensions) each, and `numbers` (all rows, columns), of every
    process in rank order; this process' rows begin at `first`."""

    columns: list[Tensor]
    numbers: Tensor
    first: int


def gather(columns: Sequence[Tensor], numbers: Tensor, cross_device: bool) -> GatheredBatch:
    """The batch of all processes; or of this one alone, without `cross_device` or company.

    The gradient goes back to the process that a text came from, summed over the processes; averaged
    over them, as distributed training does, it is that of the mean loss over all rows. Every
    process must bring as many rows and columns.
    """
    if not cross_device or get_world_size() == 1:
        return GatheredBatch(list(columns), numbers, 0)
    gathered = [all_gather_with_grad(column.contiguous()) for column in columns]
    return GatheredBatch(gathered, all_gather(numbers.contiguous()), get_rank() * len(numbers))
