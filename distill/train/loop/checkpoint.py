"""Check that a checkpoint is what was written: one that is not is never resumed from, for a
training with other weights, without its optimizer, or with another state of chance ends as another
student."""

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.trainer_pt_utils import safe_globals

from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.files.checksums import find_damage, list_files, measure_file
from distill.runtime import processes

MARKER = "complete"
_RAISED_BY_DAMAGE = (
    SafetensorError,
    pickle.UnpicklingError,
    UserError,
    OSError,
    RuntimeError,
    ArithmeticError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    EOFError,
)


def mark_complete(checkpoint: Path) -> None:
    """Write down the checksums of a checkpoint's files: it is whole from here on."""
    names = [name for name in list_files(checkpoint) if name != MARKER]
    write_json(checkpoint / MARKER, {name: measure_file(checkpoint / name) for name in names})


def find_fault(checkpoint: Path, needed: Iterable[str] = ()) -> str | None:
    """Find what is wrong with a checkpoint that was complete, naming the file; None where nothing
    is.

    What is read as a pickle is tried as one of tensors and numbers alone, which runs nothing: a
    checksum keeps no one from writing another one.

    Args:
        needed: files without which it is none, beside those that every checkpoint has.
    """
    for name in sorted({*needed, *_list_needed()}):
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
    if not processes.is_sharded() and not any(checkpoint.rglob("*model.safetensors")):
        return "model.safetensors is missing"
    try:
        recorded = _read_recorded(checkpoint)
        for name, measured in recorded.items():
            if what := find_damage(checkpoint / name, measured):
                return f"{name} {what}"
    except (UserError, OSError, TypeError, KeyError, AttributeError):
        return f"{MARKER}, the list of its files, is damaged"
    for name in list_files(checkpoint):
        if what := _find_unreadable(checkpoint / name):
            return f"{name} cannot be read ({what})"
    return None


def _list_needed() -> set[str]:
    if processes.is_sharded():  # the optimizer has other files then
        return {"trainer_state.json"}
    several = processes.count_processes() > 1
    chance = {f"rng_state_{rank}.pth" for rank in range(processes.count_processes())}
    return {
        "trainer_state.json",
        "optimizer.pt",
        "scheduler.pt",
        *(chance if several else {"rng_state.pth"}),
    }


def _read_recorded(checkpoint: Path) -> dict[str, Any]:
    """Read the recorded checksums; nothing of checkpoints made before there were any."""
    path = checkpoint / MARKER
    recorded: dict[str, Any] = read_json(path) if path.stat().st_size else {}
    return dict(recorded.items())


def _find_unreadable(path: Path) -> str | None:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                file.keys()
        elif path.suffix in (".pt", ".pth"):
            with safe_globals():
                torch.load(path, map_location="cpu", weights_only=True)
        elif path.name == "trainer_state.json":
            read_json(path)["global_step"]
    except _RAISED_BY_DAMAGE as fault:
        return type(fault).__name__
    return None
