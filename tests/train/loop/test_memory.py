"""A training for which memory does not suffice says which settings need less, and goes on with
them."""

import pytest
import torch
from helpers.training_by_hand import make_recipe, train_in

from distill.errors import UserError
from distill.train.loop.memory import _write_remedy
from distill.train.objectives import CombinedLoss

TRAIN = {"batch_size": 4, "epochs": 3, "checkpoint_steps": 1}


@pytest.fixture
def runs_out(monkeypatch):
    """Makes memory suffice for so many steps."""
    forward = CombinedLoss.forward

    def after(steps: int, fault: Exception) -> None:
        left = iter(range(steps))

        def refuse(self, *arguments, **named):
            if next(left, None) is None:
                raise fault
            return forward(self, *arguments, **named)

        monkeypatch.setattr(CombinedLoss, "forward", refuse)

    yield after
    monkeypatch.setattr(CombinedLoss, "forward", forward)


@pytest.mark.bad_input("device", "a training step that does not fit", "refused with the keys")
@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_step_that_does_not_fit_names_the_keys_and_leaves_the_checkpoints(
    tmp_path, encoder_folder, runs_out, monkeypatch, fault
):
    with monkeypatch.context():
        runs_out(3, fault)
        with pytest.raises(UserError, match="memory does not suffice") as refused:
            train_in(tmp_path, make_recipe(encoder_folder, train=TRAIN))
    assert "train.mini_batch_tokens" in refused.value.remedy
    assert "lower train.batch_size from 4 to 2" in refused.value.remedy
    assert list(tmp_path.glob("student/.stage/training/0-train/checkpoint-*"))


def test_run_goes_on_with_the_remedy_of_full_memory(
    tmp_path, encoder_folder, runs_out, monkeypatch
):
    seen = []
    forward = CombinedLoss.forward
    runs_out(3, torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(UserError):
        train_in(tmp_path, make_recipe(encoder_folder, train=TRAIN))

    def count(self, *arguments, **named):
        seen.append(1)
        return forward(self, *arguments, **named)

    monkeypatch.setattr(CombinedLoss, "forward", count)
    stage = train_in(tmp_path, make_recipe(encoder_folder, train=TRAIN | {"mini_batch_tokens": 40}))
    steps = stage.manifest["figures"]["steps"]
    assert stage.complete
    assert len(seen) == steps - 3, "the steps before are not done again"


def test_faults_other_than_memory_are_raised_as_they_are(tmp_path, encoder_folder, runs_out):
    runs_out(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        train_in(tmp_path, make_recipe(encoder_folder, train=TRAIN))


def remedy(encoder_folder, **train) -> str:
    return _write_remedy(make_recipe(encoder_folder, train=train).train, 100)


def test_remedy_is_half_of_what_is_set(encoder_folder):
    lower = remedy(encoder_folder, mini_batch_tokens=8192)
    assert lower.startswith("lower train.mini_batch_tokens from 8192 to 4096")
    assert "train.batch_size" not in lower
    assert "to 800 or fewer" in remedy(encoder_folder, batch_size=16)
    least = remedy(encoder_folder, mini_batch_tokens=50, gradient_checkpointing=True)
    assert least.startswith("lower student.max_tokens")
