"""A bar with rate and time left: live in a terminal, a line now and then in a log."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Progress of one piece of work on stderr. `done` is what an earlier run already did."""

    def __init__(self, label: str, total: int, unit: str = "rows", done: int = 0) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = done
        self._fresh = 0
        self._begun = self._last = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> "Progress":
        self._begun = self._last = time.monotonic()
        if sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(
                self.label, total=self.total, completed=self.done, rate=""
            )
            self._bar.start()
        return self

    def advance(self, count: int = 1) -> None:
        self.done += count
        self._fresh += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=self._rate_text())
        elif time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._print_line()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            self._print_line()

    @property
    def rate(self) -> float:
        """Units a second, of this process' own work."""
        return self._fresh / max(time.monotonic() - self._begun, 1e-9)

    def _rate_text(self) -> str:
        return f"{self.rate:.1f} {self.unit}/s"

    def _print_line(self) -> None:
        left = (self.total - self.done) / self.rate if self._fresh else 0.0
        line = f"{self.label}: {self.done}/{self.total} {self.unit}"
        if self._fresh:
            line += f", {self._rate_text()}, {left:.0f} s left"
        print(line, file=sys.stderr, flush=True)
