"""A bar with rates and time left: live in a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.progress import (
    Progress as Bar,
)
from rich.text import Text

from distill.processes import is_main

Tokens = Callable[[], Mapping[str, int]]
"""An engine's counters, as they stand: prompt, shared and new tokens, perhaps failures and
cached."""

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Progress of one piece of work on stderr; of several processes the first one tells it.

    Args:
        done: what an earlier run already did.
        tokens: tells tokens a second, failures and what came from a cache, counted from the
            beginning of this piece of work.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str = "rows",
        done: int = 0,
        tokens: Tokens | None = None,
    ) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = done
        self._tokens = tokens
        self._before: Mapping[str, int] = {}
        self._fresh = 0
        self._begun = self._advanced = self._printed = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> "Progress":
        self._begun = self._advanced = self._printed = time.monotonic()
        self._before = dict(self._tokens()) if self._tokens else {}
        if sys.stderr.isatty() and is_main():
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Figures(self),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done)
            self._bar.start()
        return self

    def advance(self, count: int = 1) -> None:
        self.done += count
        self._fresh += count
        self._advanced = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, total=self.total)
        elif self._advanced - self._printed > _SECONDS_BETWEEN_LINES:
            self._printed = self._advanced
            self._print_line()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None or kind is KeyboardInterrupt:
            self._print_line()

    @property
    def rate(self) -> float:
        """Units a second, of this process' own work, up to the last that were done: those in
        flight do not count yet, neither as work nor as time."""
        return self._fresh / max(self._advanced - self._begun, 1e-9)

    @property
    def figures(self) -> str:
        """Units and tokens a second, failures, time left; of what is known so far."""
        parts = [f"{self.rate:.1f} {self.unit}/s"] if self._fresh else []
        parts += self._token_figures()
        if self._fresh:
            left = (self.total - self.done) / self.rate
            parts.append(f"{duration(max(0.0, left - self._since_advance()))} left")
        return ", ".join(parts)

    def _token_figures(self) -> list[str]:
        """Live: an engine counts while a shard is still in flight."""
        if self._tokens is None:
            return []
        counted = {key: n - self._before.get(key, 0) for key, n in self._tokens().items()}
        seconds = max(time.monotonic() - self._begun, 1e-9)
        parts = []
        if counted.get("new"):
            parts.append(f"{counted['new'] / seconds:,.0f} tokens/s")
        elif counted.get("prompt"):
            parts.append(f"{counted['prompt'] / seconds:,.0f} prompt tokens/s")
        if counted.get("failures"):
            parts.append(f"{counted['failures']} failed")
        if counted.get("cached"):
            parts.append(f"{counted['cached']} cached")
        return parts

    def _since_advance(self) -> float:
        return time.monotonic() - self._advanced

    def _print_line(self) -> None:
        if not is_main():
            return
        line = f"{self.label}: {self.done}/{self.total} {self.unit}"
        figures = self.figures if self._fresh else ""
        print(f"{line}, {figures}" if figures else line, file=sys.stderr, flush=True)


class _Figures(ProgressColumn):
    """The figures as they stand whenever the bar is drawn."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.figures)


def duration(seconds: float) -> str:
    """For people: 8 s, 3 min 20 s, 2 h 05 min, 4 d 3 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
