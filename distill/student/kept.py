"""Weights on disk: those of the student as it is looked at, of which the last or the best are kept,
and their mean (Wortsman et al. 2022, a uniform soup)."""

import os
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn

_VALUE = "value"


def save_weights(model: nn.Module, path: Path, value: float | None = None) -> None:
    """All of a module's weights in one file, there whole or not at all, with how good they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    save_model(model, str(part), {} if value is None else {_VALUE: repr(value)})
    os.replace(part, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Into a module of the same shape, in place."""
    load_model(model, str(path), device=str(next(model.parameters()).device))


class Kept:
    """The weights of a few steps: the last `count` that were added, or the best.

    Args:
        folder: one file a step.
    """

    def __init__(self, folder: Path, keep: Literal["last", "best"], count: int) -> None:
        self.folder = folder
        self.keep = keep
        self.count = count

    def add(self, model: nn.Module, step: int, value: float | None) -> None:
        """Take the weights of a step in, and delete those that are one too many.

        A run that resumes at an earlier step adds the same ones again, which changes nothing.
        """
        save_weights(model, self._path(step), value)
        for surplus in self._in_order()[self.count :]:
            self._path(surplus).unlink()

    def steps(self) -> list[int]:
        return sorted(self._in_order())

    def average(self, model: nn.Module) -> None:
        """Give the model the mean of the kept weights, in place."""
        steps = self.steps()
        total: dict[str, Tensor] = {}
        for step in steps:
            for name, weight in load_file(self._path(step)).items():
                total[name] = total.get(name, torch.zeros(())) + weight.double()
        own = model.state_dict()
        for name, weight in total.items():
            own[name].copy_(weight / len(steps))

    def _in_order(self) -> list[int]:
        """The steps, best or last first; of equally good ones the earlier."""
        steps = sorted(int(path.stem) for path in self.folder.glob("*.safetensors"))
        if self.keep == "last":
            return steps[::-1]
        return sorted(steps, key=lambda step: -self._value(step))

    def _value(self, step: int) -> float:
        with safe_open(self._path(step), "pt") as file:
            return float((file.metadata() or {})[_VALUE])

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:08d}.safetensors"
