"""A model that nobody holds any more gives its GPU's memory back before the next one is loaded."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.tiny_models import make_tiny_cross_encoder
from helpers.training_by_hand import make_recipe, train_in

from distill.embed import open_model as opening
from distill.embed.open_embedder import load_encoder
from distill.recipe import EmbedderConfig
from distill.retrieve.cross_encoder import CrossEncoderJudge
from distill.train import training_stage


@pytest.fixture
def gpu_in_use(monkeypatch) -> Iterator[None]:
    """A GPU to free memory of. Python looks for cycles only when it is asked to."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def opened(monkeypatch) -> "list[weakref.ref[Any]]":
    """Every embedder that is opened."""
    models: list[weakref.ref[Any]] = []
    load = opening.open_sentence_model

    def watch(*args: Any, **named: Any) -> Any:
        model = load(*args, **named)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(opening, "open_sentence_model", watch)
    return models


def open_and_drop(folder) -> None:
    load_encoder(str(folder), EmbedderConfig(device="cpu", max_tokens=32))


@pytest.mark.usefixtures("gpu_in_use")
def test_embedder_is_gone_before_the_next_model_is_loaded(
    encoder_folder, teacher_folder, tmp_path, opened
):
    open_and_drop(encoder_folder)
    open_and_drop(teacher_folder)
    assert opened[0]() is None
    CrossEncoderJudge(str(make_tiny_cross_encoder(tmp_path / "cross")), 32, "cpu")
    assert opened[1]() is None


@pytest.mark.usefixtures("gpu_in_use")
def test_teacher_is_gone_before_its_student_is_trained(
    encoder_folder, teacher_folder, tmp_path, opened, monkeypatch
):
    alive = []
    train = training_stage.fit

    def watch(*args: Any, **named: Any) -> Any:
        alive.extend(model() is not None for model in opened)
        return train(*args, **named)

    monkeypatch.setattr(training_stage, "fit", watch)
    settings = {"objective": {"align": 1.0}, "align": {"passages": 4}, "epochs": 1}
    train_in(tmp_path / "run", make_recipe(encoder_folder, teacher_folder, train=settings))
    assert alive == [False]
