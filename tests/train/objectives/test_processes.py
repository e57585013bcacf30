"""Two processes give the loss and the gradients of one with both their batches."""

from pathlib import Path

import pytest
import torch
from helpers.fresh_process import CONTEXT
from helpers.loss_processes import compute_step, run_process
from safetensors.torch import load_file

from distill.recipe import Train


def train(hard_negatives: str, mini_batch_tokens: int | None, **soft: float) -> Train:
    contrast = {"cross_device": True, "learn_temperature": True, "margin": 0.1}
    return Train(
        objective={"infonce": 1.0, "align": 0.5} | soft,
        infonce=contrast | {"hard_negatives": hard_negatives},
        widths=[32, 8],
        mini_batch_tokens=mini_batch_tokens,
    )


TRAINS = {
    "own": train("own", None),
    "shared": train("shared", None),
    "own-cached": train("own", 40),
    "shared-cached": train("shared", 40),
    "kl": train("own", None, kl=1.0),
    "margin_mse": train("own", None, margin_mse=1.0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder_folder) -> Path:
    """With what each of the two processes got."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.start_processes(
        run_process,
        (encoder_folder, TRAINS, folder),
        nprocs=2,
        start_method=CONTEXT.get_start_method(),
    )
    return folder


@pytest.mark.parametrize("name", TRAINS)
def test_two_processes_are_one(folder, encoder_folder, name):
    first, second = (load_file(folder / f"{name}-{rank}") for rank in range(2))
    alone = compute_step(encoder_folder, TRAINS[name], slice(None), distributed=False)
    loss = (first.pop("loss") + second.pop("loss")) / 2
    torch.testing.assert_close(loss, alone.pop("loss"))
    assert first.keys() == second.keys() == alone.keys()
    assert {"projection.weight", "log_temperature"} < alone.keys()
    for parameter, gradient in alone.items():
        torch.testing.assert_close(first[parameter], gradient, rtol=1e-3, atol=1e-6)
        assert torch.equal(first[parameter], second[parameter])
