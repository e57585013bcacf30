"""The losses on a device other than the CPU."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distill.recipe import CorpusSoftmax
from distill.train.loop.weight_averaging import interpolate_weights
from distill.train.objectives.corpus_softmax import BatchPools, CorpusSoftmaxLoss
from distill.train.objectives.inputs import standardize

DOCUMENTS = np.eye(40, 8, dtype=np.float32)


class CopyCounter(TorchDispatchMode):
    """Counts the copies to another device that are as large as the documents."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        is_copy = function._schema.name == "aten::_to_copy"
        self.copies += is_copy and args[0].shape == DOCUMENTS.shape
        return function(*args, **(kwargs or {}))


class DoubleRefuser(TorchDispatchMode):
    """Refuses float64 on a device other than the CPU, as MPS does."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
            assert result.device.type == "cpu"
        return result


def test_exact_sums_need_no_float64_of_the_device(device: str) -> None:
    scores = torch.tensor([[1.0, 2.0, torch.nan], [3.0, 3.0, 3.0]])
    model, start = (torch.nn.Linear(3, 2) for _ in range(2))
    expected = (model.weight + start.weight).detach() / 2
    model, there = model.to(device), scores.to(device)
    with DoubleRefuser():
        found = standardize(there)
        interpolate_weights(model, start, 0.5)
    torch.testing.assert_close(found.cpu(), standardize(scores), equal_nan=True)
    torch.testing.assert_close(model.weight.detach().cpu(), expected)


def test_corpus_softmax_copies_the_corpus_once(device: str) -> None:
    pools = BatchPools(torch.arange(6).view(2, 3), torch.full((2, 3), 1 / 3))
    loss = CorpusSoftmaxLoss(DOCUMENTS, lambda numbers: pools, CorpusSoftmax())
    queries = torch.ones(2, 8).to(device)
    with CopyCounter() as counter:
        values = [loss(queries, torch.arange(2)) for _ in range(3)]
    assert counter.copies == 1
    assert float(values[0]) == pytest.approx(float(values[2]))
