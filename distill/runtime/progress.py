"""A bar with rates and time left, of this work and of the whole run: live in a terminal; a line
each half minute where the output is piped. The run's log has these lines too."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

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

from distill.runtime.processes import is_main
from distill.runtime.run_log import log_event
from distill.runtime.run_plan import RunPlan

TokenCounts = Callable[[], Mapping[str, int]]
"""An engine's counters, as they stand: prompt, shared and new tokens, perhaps failures and
cached."""


class TokenMeter:
    """Counts the tokens that an engine uses from the moment the meter is made."""

    def __init__(self, engine: "CountsTokens") -> None:
        self._engine = engine
        self._before = dict(engine.tokens)

    def totals(self) -> Mapping[str, int]:
        """The engine's own counters, as they stand."""
        return self._engine.tokens

    def used(self) -> dict[str, int]:
        """What each counter has grown by."""
        return {key: n - self._before.get(key, 0) for key, n in self._engine.tokens.items()}


class CountsTokens(Protocol):
    """An engine with counters of tokens."""

    @property
    def tokens(self) -> Mapping[str, int]: ...


_SECONDS_BETWEEN_LINES = 30.0
OnSpeeds = Callable[[dict[str, float]], None]


class _Display:
    """What this process shows of progress: set once by the command, read by every bar."""

    quiet = False
    plan: RunPlan | None = None
    keep_speeds: OnSpeeds | None = None


def show_progress(quiet: bool) -> None:
    """Show bars and lines of progress, or none (`--quiet`)."""
    _Display.quiet = quiet


@contextmanager
def follow_plan(plan: RunPlan, keep_speeds: OnSpeeds | None = None) -> Iterator[None]:
    """Show inside where the whole run is. `keep_speeds` is given each stage's seconds a unit under
    its key, as soon as the stage is done."""
    before = _Display.plan, _Display.keep_speeds
    _Display.plan, _Display.keep_speeds = plan, keep_speeds
    try:
        yield
    finally:
        _Display.plan, _Display.keep_speeds = before


@contextmanager
def planned_stage(name: str) -> Iterator[None]:
    """A stage that has several bars, or none, as one of the run's plan."""
    if _Display.plan is None:
        yield
        return
    _Display.plan.begin(name)
    begun = time.monotonic()
    yield
    if amount := _Display.plan.current_amount:
        _keep_speed(name, (time.monotonic() - begun) / amount)


def _keep_speed(label: str, seconds_a_unit: float) -> None:
    if _Display.plan is None or _Display.keep_speeds is None:
        return
    if speeds := _Display.plan.measure(label, seconds_a_unit):
        _Display.keep_speeds(speeds)


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
        tokens: TokenCounts | None = None,
    ) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = done
        self._position = ""
        self._whole_stage = False
        self._tokens = tokens
        self._before: Mapping[str, int] = {}
        self._fresh = 0
        self._begun = self._advanced = self._printed = time.monotonic()
        self._bar: Bar | None = None
        self._ended = threading.Event()

    def __enter__(self) -> "Progress":
        self._begun = self._advanced = self._printed = time.monotonic()
        self._before = dict(self._tokens()) if self._tokens else {}
        if _Display.plan is not None:
            self._whole_stage = _Display.plan.begin(self.label)
            self._position = _Display.plan.position
        threading.Thread(target=self._print_regularly, daemon=True).start()
        if sys.stderr.isatty() and is_main() and not _Display.quiet:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Figures(self),
                console=Console(stderr=True),
            )
            label = self._position + self.label
            self._task = self._bar.add_task(label, total=self.total, completed=self.done)
            self._bar.start()
        return self

    def advance(self, count: int = 1) -> None:
        self.done += count
        self._fresh += count
        self._advanced = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, total=self.total)
        elif self._advanced - self._printed > _SECONDS_BETWEEN_LINES:
            self._print_line()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()
        elif kind is None or kind is KeyboardInterrupt:
            self._print_line()
        self._log()
        if kind is None and self._fresh:
            _keep_speed(self.label, 1 / self.rate)

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
        left = self._seconds_left
        if left is not None:
            parts.append(f"{duration(left)} left")
            if _Display.plan is not None:
                parts.append(_Display.plan.describe_time_left(left, self._whole_stage))
        return ", ".join(parts)

    @property
    def _seconds_left(self) -> float | None:
        if not self._fresh:
            return None
        left = (self.total - self.done) / self.rate
        return max(0.0, left - self._since_advance())

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

    def _print_regularly(self) -> None:
        """A line each half minute, even while nothing ends: a log that stands still looks dead."""
        while not self._ended.wait(_SECONDS_BETWEEN_LINES):
            self._log()
            if self._bar is None and time.monotonic() - self._printed >= _SECONDS_BETWEEN_LINES:
                self._print_line()

    def _print_line(self) -> None:
        self._printed = time.monotonic()
        if not is_main() or _Display.quiet:
            return
        line = f"{self._position}{self.label}: {self.done}/{self.total} {self.unit}"
        figures = self.figures
        print(f"{line}, {figures}" if figures else line, file=sys.stderr, flush=True)

    def _log(self) -> None:
        if not is_main():
            return
        seconds = round(time.monotonic() - self._begun, 3)
        log_event(
            "progress",
            stage=self.label,
            done=self.done,
            total=self.total,
            unit=self.unit,
            seconds=seconds,
            figures=self.figures,
        )


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
