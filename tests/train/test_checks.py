"""What is said before a training begins."""

import logging

import pytest
import torch
from helpers.training_by_hand import make_recipe, train_in

from distill.recipe import Student, Train
from distill.train import stage
from distill.train.checks import describe_slow_products


class _Begun(Exception):
    pass


@pytest.fixture
def gpu(monkeypatch):
    """One that computes bfloat16, as H100s do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)


@pytest.mark.usefixtures("gpu")
def test_float32_on_a_gpu_is_said_before_training(
    monkeypatch, tmp_path, caplog, encoder_folder, teacher_folder
):
    def begin(*args: object) -> None:
        raise _Begun

    monkeypatch.setattr(stage, "_open", begin)
    recipe = make_recipe(encoder_folder, teacher_folder, train={"device": "cuda"})
    with caplog.at_level(logging.WARNING), pytest.raises(_Begun):
        train_in(tmp_path / "run", recipe)
    assert "train.dtype: auto" in caplog.text


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("train", "student"),
    [
        (Train(dtype="auto"), Student()),
        (Train(device="cpu"), Student()),
        (Train(), Student(architecture="static", route="query")),
    ],
)
def test_training_that_is_as_fast_as_can_be_is_not_spoken_of(train, student):
    assert describe_slow_products(train, student) is None
