"""Weights on disk: those of the student at each validation, of which the last or the best are kept,
and their mean (Wortsman et al. 2022, a uniform soup)."""

import logging
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn

from distill.files.atomic import open_atomic_file, write_json
from distill.files.checksums import find_damage_beside, measure_file

_VALUE = "value"
_log = logging.getLogger(__name__)


def save_weights(model: nn.Module, path: Path, value: float | None = None) -> None:
    """Save all of a module's weights in one file, there whole or not at all, with how good they
    are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomic_file(path) as beside:
        save_model(model, str(beside), {} if value is None else {_VALUE: repr(value)})
        write_json(path.with_suffix(".json"), measure_file(beside))


def find_weights_fault(path: Path) -> str | None:
    """Find how a file of weights differs from what was written, in words that follow its name. One
    made before there were checksums is to have a whole header and length."""
    recorded = path.with_suffix(".json")
    try:
        if recorded.exists():
            return find_damage_beside(path, recorded)
        with safe_open(path, "pt") as file:
            file.keys()
    except (OSError, SafetensorError) as fault:
        return f"cannot be read ({fault})"
    return None


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a module of the same shape, in place."""
    load_model(model, str(path), device=str(next(model.parameters()).device))


def interpolate_weights(model: nn.Module, start: nn.Module, share: float) -> None:
    """Give the model the mean of its weights and those before training, in place (WiSE-FT, Wortsman
    et al. 2022, arXiv 2109.01903, equation 1).

    Args:
        start: of the same shape, with the weights before training.
        share: of the model's own weights, from 0 to 1.
    """
    before, after = start.state_dict(), model.state_dict()
    # Tied weights, such as the token vectors of T5, are one parameter of several names: each is
    # mixed once.
    distinct = {id(weight): name for name, weight in model.state_dict(keep_vars=True).items()}
    for name in distinct.values():
        weight = after[name]
        if weight.is_floating_point():
            old, own = (of.cpu().double() for of in (before[name], weight))  # MPS has no float64
            weight.copy_((1 - share) * old + share * own)


class WeightAverager:
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
        save_weights(model, self._make_path(step), value)
        for surplus in self._sort_steps()[self.count :]:
            self._delete(surplus)

    def drop_damaged(self) -> int | None:
        """Delete weights that are not what was written, and say so; the first of their steps. A
        training that goes on before it adds them again."""
        damaged = []
        for step in sorted(int(path.stem) for path in self.folder.glob("*.safetensors")):
            if fault := find_weights_fault(self._make_path(step)):
                _log.warning("%s %s: it is trained again", self._make_path(step), fault)
                self._delete(step)
                damaged.append(step)
        return min(damaged, default=None)

    def list_steps(self) -> list[int]:
        """Return the steps whose weights are kept, in order."""
        return sorted(self._sort_steps())

    def average(self, model: nn.Module) -> None:
        """Give the model the mean of the kept weights, in place."""
        steps = self.list_steps()
        total: dict[str, Tensor] = {}
        for step in steps:
            for name, weight in load_file(self._make_path(step)).items():
                total[name] = total.get(name, torch.zeros(())) + weight.double()
        own = model.state_dict()
        for name, weight in total.items():
            own[name].copy_(weight / len(steps))

    def _sort_steps(self) -> list[int]:
        """Return the steps, best or last first; of equally good ones the earlier."""
        steps = sorted(int(path.stem) for path in self.folder.glob("*.safetensors"))
        if self.keep == "last":
            return steps[::-1]
        return sorted(steps, key=lambda step: -self._get_value(step))

    def _get_value(self, step: int) -> float:
        with safe_open(self._make_path(step), "pt") as file:
            return float((file.metadata() or {})[_VALUE])

    def _delete(self, step: int) -> None:
        self._make_path(step).unlink()
        self._make_path(step).with_suffix(".json").unlink(missing_ok=True)

    def _make_path(self, step: int) -> Path:
        return self.folder / f"{step:08d}.safetensors"
