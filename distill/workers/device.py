"""The device that a worker computes on, and the notes of who computed what."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.workers.protocol import Workers


def describe_device() -> str:
    """Describe what decides the last digits of a model's results: the GPU, or the instructions of
    the processor that torch uses."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}"


class ExecutionNotes:
    """Who made a stage's shards, or a store's vectors, over all processes that made some: the key
    `execution` of a file of JSON, which may hold more.

    Args:
        name, folder: of what is made, for errors.
    """

    def __init__(self, path: Path, name: str, folder: Path, workers: Workers) -> None:
        self._path = path
        self._name, self._folder = name, folder
        # A cluster's are among its settings. Who has none computes on one device.
        self._mixes = getattr(getattr(workers, "settings", workers), "mixed_devices", True)
        self._devices: set[str] = set()

    def note_devices(self, described: Mapping[str, Any]) -> None:
        """Note devices before the first result of each is kept, so that also after a process was
        killed the next one knows them.

        Raises:
            UserError: if results of other devices are kept already.
        """
        devices = set(described.get("devices", []))
        if devices <= self._devices:
            return
        before = set(self._read().get("execution", {}).get("devices", []))
        if before and devices - before and not self._mixes:
            raise UserError(
                self._name,
                f"was begun on {', '.join(sorted(before))}, and goes on on "
                f"{', '.join(sorted(devices - before))}: their last digits differ",
                "continue on devices of that kind, or set execution.mixed_devices: true; "
                f"move {self._folder} elsewhere to compute it again",
            )
        self._devices = devices
        self.add({"devices": sorted(devices)})

    def add(self, described: Mapping[str, Any]) -> None:
        """Add what a team tells of itself: names that are new, and numbers."""
        if not described:
            return
        content = self._read()
        execution = content.get("execution", {})
        for key, value in described.items():
            if isinstance(value, list):
                execution[key] = sorted({*execution.get(key, []), *value})
            elif isinstance(value, int):
                execution[key] = execution.get(key, 0) + value
            else:
                execution[key] = value
        write_json(self._path, content | {"execution": execution})

    def _read(self) -> dict[str, Any]:
        return dict(read_json(self._path)) if self._path.exists() else {}
