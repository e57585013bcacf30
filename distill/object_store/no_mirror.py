"""The mirror of a run that is kept in its folder alone, and what every mirror does."""

from collections.abc import Callable, Sequence
from pathlib import Path

PARTS = ".parts"
"""Ends the name of the folder of a growing file's parts."""


class Mirror:
    """The mirror of a run that is kept in its folder alone; it does nothing."""

    def take_over(self, stage: Path) -> None:
        """Fetch what a stage's folder lacks of the same stage in the store."""

    def begin(self, stage: Path) -> None:
        """Note that a stage's folder was begun again."""

    def commit(self, stage: Path, files: Sequence[Path]) -> None:
        """Copy the files of a shard, in this order, when there is time."""

    def copy_part(self, path: Path, read: Callable[[], bytes]) -> None:
        """Copy a part of a file that still grows, under a path of its own, when there is time."""

    def copy_for_workers(self) -> None:
        """Copy what workers on other machines read, and wait until it is there."""

    def finish(self, stage: Path) -> None:
        """Copy all that the stage still lacks in the store, and its manifest last."""

    def move(self, source: Path, target: Path) -> None:
        """Move what the store has of a stage, before its folder is renamed."""


NO_MIRROR = Mirror()
