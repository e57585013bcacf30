"""What is trained beside the student and is no part of it."""

import math

import torch
import torch.distributed
from sentence_transformers.util import get_world_size
from torch import Tensor, nn

_LEAST = 0.01
"""As in CLIP (2103.00020): a temperature that fell further would only sharpen noise."""


class AuxiliaryParameters(nn.Module):
    """The projection to the teacher's width and, where it is learned, the contrast's temperature. A
    checkpoint holds its `state_dict`, which is empty where nothing is trained along.

    Distributed training averages the student's gradients over the processes, and does not know of
    this module; it averages its own. So every process must train on the same terms in every step.
    """

    def __init__(self, projection: nn.Module, learned_temperature: float | None) -> None:
        super().__init__()
        self.projection = projection
        if learned_temperature is not None:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(learned_temperature)))
        for parameter in self.parameters():
            parameter.register_hook(_mean_over_processes)

    def temperature(self) -> Tensor:
        """A scalar; of its logarithm the gradient is of the same size at any temperature."""
        with (
            torch.no_grad()
        ):  # were the bound in the graph, what fell below it could not rise again
            self.log_temperature.clamp_(min=math.log(_LEAST))
        return self.log_temperature.exp()


def _mean_over_processes(gradient: Tensor) -> Tensor:
    if get_world_size() == 1:
        return gradient
    total = gradient.clone()
    torch.distributed.all_reduce(total)
    return total / get_world_size()
