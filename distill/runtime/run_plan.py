"""Estimate the time left of a whole run from its stages, their amounts of work and measured speeds.

A figure is given only for what is known. The speeds that a run measures are kept in the cache
folder (`speeds.json`), so that the first run on a machine says of how many stages it does not know
the time yet, and later ones time them all.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from distill.runtime.live_line import format_duration

SPEEDS_NAME = "speeds.json"
_LONGEST_FILE = 1_000_000
"""Bytes of `speeds.json` that are read: a larger one was not written here."""
_SECONDS_TO_TRUST = 10.0
_LARGEST_FACTOR = 10.0
"""What took fewer seconds was mostly preparation: it says nothing of a work that is more than so
many times larger."""


class MeasuredSpeed(NamedTuple):
    """The seconds that a stage took, and its units of work."""

    seconds: float
    units: float

    def estimate_seconds(self, amount: float) -> float | None:
        """Estimate the seconds of an amount of work; None where too little was measured for it."""
        if self.seconds < _SECONDS_TO_TRUST and amount > _LARGEST_FACTOR * self.units:
            return None
        return self.seconds / self.units * amount

    def outweighs(self, other: "MeasuredSpeed") -> bool:
        """Return whether this measurement takes the place of an earlier one."""
        return self.seconds >= _SECONDS_TO_TRUST or self.units >= other.units


class MeasuredWork(NamedTuple):
    """Work that was done: its seconds, its units, and how many there were in all."""

    seconds: float
    done: float
    total: float
    unit: str


@dataclass(frozen=True)
class PlannedStage:
    """A stage and its greatest number of units of work; None if not known beforehand."""

    name: str
    """As its bar of progress is called, or how that name begins."""
    amount: float | None
    models: str = ""
    """What its speed depends on: the references of the models that work in it."""
    unit: str = ""
    """Of the amount."""


@dataclass
class RunPlan:
    """The stages of a run in order, and the stage that the run has reached.

    Args:
        speeds: by stage and models, as measured before.
    """

    stages: Sequence[PlannedStage]
    speeds: Mapping[str, MeasuredSpeed] = field(default_factory=dict)
    _current: int | None = field(default=None, init=False)

    def begin(self, label: str) -> bool:
        """Note that work of this name has begun, and return whether it is a stage of the plan.
        Other work, such as embedding the corpus, is part of the stage that was begun last.

        Stages come in order, and a run of several rounds has some of them more than once: the
        next one of that name is meant.
        """
        for number in range(self._next, len(self.stages)):
            if _is_named(self.stages[number], label):
                self._current = number
                return True
        return False

    @property
    def position(self) -> str:
        """The place in the run, such as "[3/9] "; empty before the first stage."""
        return "" if self._current is None else f"[{self._current + 1}/{len(self.stages)}] "

    def describe_time_left(self, seconds_of_this: float, whole_stage: bool) -> str:
        """Describe the time left of the whole run, from that of the current work, such as "5 min
        10 s left"; where the speed or the amount of some later stages is not known, their number
        too: a sum without them misleads. Empty where the current work is not all of its stage.

        Args:
            whole_stage: whether that work is all of its stage.
        """
        later = [self._estimate_stage(stage) for stage in self.stages[self._next :]]
        known = [seconds for seconds in later if seconds is not None]
        if not whole_stage:
            return ""
        left, unknown = f"{format_duration(seconds_of_this + sum(known))} left", later.count(None)
        if not unknown:
            return left
        return f"{left} and {unknown} stage{'s' if unknown > 1 else ''} not timed yet"

    def measure(self, label: str, work: MeasuredWork) -> dict[str, MeasuredSpeed]:
        """Record the speed of the current stage under its key; nothing for other work. Work that
        is counted in another unit than the plan's, such as shards, is the same share of the planned
        amount."""
        if self._current is None or not _is_named(self.stages[self._current], label):
            return {}
        stage = self.stages[self._current]
        units = work.done
        if work.unit != stage.unit:
            if stage.amount is None or not work.total:
                return {}
            units = stage.amount * work.done / work.total
        if units <= 0:
            return {}
        return {make_speed_key(stage): MeasuredSpeed(work.seconds, units)}

    @property
    def _next(self) -> int:
        return 0 if self._current is None else self._current + 1

    def _estimate_stage(self, stage: PlannedStage) -> float | None:
        speed = self.speeds.get(make_speed_key(stage))
        if speed is None or stage.amount is None:
            return None
        return speed.estimate_seconds(stage.amount)


def _is_named(stage: PlannedStage, label: str) -> bool:
    return label.startswith(stage.name.rpartition("/")[2])


def make_speed_key(stage: PlannedStage) -> str:
    """Make the key of a stage's speed: its name and a hash of its models and its unit."""
    digest = hashlib.sha256(f"{stage.models}|{stage.unit}".encode()).hexdigest()[:12]
    return f"{stage.name.rpartition('/')[2]}-{digest}"


def read_speeds(cache: Path) -> dict[str, MeasuredSpeed]:
    """Read the speeds of earlier runs; empty without a readable file: a run does not depend on
    them. Bare numbers, seconds a unit of an unknown amount, are passed over."""
    path = cache / SPEEDS_NAME
    try:
        if path.stat().st_size > _LONGEST_FILE:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: MeasuredSpeed(*value) for key, value in content.items() if _is_speed(value)}


def add_speeds(cache: Path, speeds: Mapping[str, MeasuredSpeed]) -> None:
    """Add speeds to the file of measured ones, where they outweigh those there. A cache that cannot
    be written is left as it is."""
    from distill.errors import UserError
    from distill.files.atomic import commit_bytes

    known = read_speeds(cache)
    better = {key: speed for key, speed in speeds.items() if speed.outweighs(known.get(key, speed))}
    merged = {**known, **better}
    try:
        cache.mkdir(parents=True, exist_ok=True)
        commit_bytes(cache / SPEEDS_NAME, json.dumps(merged, sort_keys=True, indent=1).encode())
    except (OSError, UserError):
        return


def _is_speed(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    if any(isinstance(part, bool) or not isinstance(part, int | float) for part in value):
        return False
    return 0 <= value[0] < float("inf") and 0 < value[1] < float("inf")
