"""Trainings that die where a test says, as a killed process does."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from distill.recipe import Recipe
from distill.train.loop.callbacks import CheckpointCallback
from helpers.training_by_hand import train_in


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def raise_killed() -> None:
    raise Killed


def arrange_death(when: str, step: int, die: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """At a step; after a checkpoint's files but before its marker; or with so many of the
    finished model's files in place."""

    class Fatal(CheckpointCallback):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if when == "step" and state.global_step == step:
                die()

        def on_save(self, args, state, control, **kwargs):
            if when == "save" and state.global_step == step:
                die()
            super().on_save(args, state, control, **kwargs)

    def move(stage, part):
        for path in sorted(part.iterdir())[:step]:
            os.replace(path, stage.folder / path.name)
        die()

    patch.setattr("distill.train.loop.trainer.CheckpointCallback", Fatal)
    if when == "move":
        patch.setattr("distill.train.stage.move_into_place", move)


def train_and_die(folder: Path, recipe: Recipe, when: str, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        arrange_death(when, step, raise_killed, patch)
        with pytest.raises(Killed):
            train_in(folder, recipe)
