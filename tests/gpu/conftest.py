"""Each test of this folder compares a device with the CPU, in one process: a GPU (`make test-gpu`,
with the mark `gpu`), and on every machine a simulated device that refuses what a GPU refuses.
torch keeps a device while its process lives, so test_simulated_device.py starts one for these."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
OWN_PROCESS = "DISTILL_SIMULATED_DEVICE"
in_own_process = pytest.mark.skipif(OWN_PROCESS not in os.environ, reason="in its own process")
DEVICES = [
    pytest.param("simulated", marks=in_own_process),
    pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda]),
]


@pytest.fixture
def cuda() -> str:
    """For what a simulation cannot show: memory, kernels, speed."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU with CUDA")
    return "cuda"


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch) -> Iterator[str]:
    """The name of a device other than the CPU, as a recipe names it."""
    if request.param == "cuda":
        yield "cuda"
        return
    with _simulated(monkeypatch) as name:
        yield name


@contextmanager
def _simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from accelerate.state import AcceleratorState
    from helpers.simulated_device import simulate_device

    from distill.embed import open_model
    from distill.recipe.sections import section
    from distill.train import checks

    monkeypatch.setattr(section, "_DEVICE", _AnyDevice())
    monkeypatch.setattr(open_model, "check_device", lambda device, key: None)
    monkeypatch.setattr(checks, "_check_device", lambda train: None)
    with simulate_device() as name:
        yield name
    AcceleratorState._reset_state(reset_partial_state=True)


class _AnyDevice:
    def fullmatch(self, device: str) -> bool:
        return True
