"""Show the progress of a piece of work and of the whole run: one live line in a terminal, else a
line now and then."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple

from distill.runtime.live_line import LiveLine, format_duration
from distill.runtime.processes import is_main
from distill.runtime.run_log import log_event
from distill.runtime.run_plan import MeasuredSpeed, MeasuredWork, RunPlan

TokenCounts = Callable[[], Mapping[str, int]]
"""An engine's counters, as they stand: prompt, shared and new tokens, perhaps failures and
cached."""


_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_TO_FIRST_LINE = 10.0
_SECONDS_TO_MEASURE = 1.0
"""A speed within the first shard is told after so long: what a cache had came at once."""
_SHARE_TO_ESTIMATE = 0.01
_SECONDS_TO_ESTIMATE = 300.0
"""The time left is shown once this share of the work is done, or after these seconds: the first
units are slow, since models warm up."""
_TITLES = {
    "passages": "reading the corpus",
    "generations": "writing queries",
    "parsed": "parsing queries",
    "parsed-free": "taking queries from the passages",
    "queries": "filtering queries",
    "generations-held-out": "writing held-out queries",
    "parsed-held-out": "parsing held-out queries",
    "parsed-log-held-out": "reading held-out queries of the log",
    "queries-held-out": "choosing held-out queries",
    "judged": "judging answers",
    "candidates": "retrieving candidates",
    "labels": "fusing ranks",
    "examples": "choosing positives",
    "teacher-scores": "scoring with the teacher",
    "tokenise": "tokenising",
    "train": "training",
    "judge": "training the judge",
    "evaluation": "evaluating",
}
"""What the stages do, by the name of their tables; other work is called by its own label."""
OnSpeeds = Callable[[dict[str, MeasuredSpeed]], None]


class WorkState(NamedTuple):
    """The progress of a piece of work, for another process that shows it."""

    label: str
    done: int
    total: int
    unit: str
    note: str


class _Display:
    """The state of this process's display: set once by the command, read by every piece of work."""

    quiet = False
    plan: RunPlan | None = None
    run_begun = 0.0
    keep_speeds: OnSpeeds | None = None
    works: "list[Progress]" = []  # noqa: RUF012 (one for the process)
    """The work under way; that which was begun last is shown."""
    counted: "Progress | None" = None
    """The work of a known amount that was begun last, under way or done."""
    between: "Progress | None" = None
    """What is shown of a run while no work of it is: its time counts from the last work's end."""
    line = LiveLine()


def show_progress(quiet: bool) -> None:
    """Show bars and lines of progress, or none (`--quiet`)."""
    _Display.quiet = quiet


@contextmanager
def follow_plan(plan: RunPlan, keep_speeds: OnSpeeds | None = None) -> Iterator[None]:
    """Show where the whole run is. `keep_speeds` is called with each stage's measured speed by key,
    as soon as the stage is done."""
    before = _Display.plan, _Display.keep_speeds, _Display.run_begun
    _Display.plan, _Display.keep_speeds = plan, keep_speeds
    _Display.run_begun = time.monotonic()
    try:
        with Progress("preparing the next step", None) as _Display.between:
            yield
    finally:
        _Display.plan, _Display.keep_speeds, _Display.run_begun = before
        _Display.between = None


@contextmanager
def show_activity(label: str) -> Iterator[None]:
    """Show that work without a known amount is under way, such as the loading of a model: how long
    it takes so far. It leaves a line behind only where it took longer than ten seconds."""
    with Progress(label, None):
        yield


@contextmanager
def show_planned_stage(name: str) -> Iterator[None]:
    """Show a stage that has several bars, or none, as one of the run's plan."""
    with Progress(name, None):
        start = time.monotonic()
        yield
    _keep_speed(name, MeasuredWork(time.monotonic() - start, 1, 1, "stages"))


def read_work_state() -> WorkState | None:
    """Read how far the work of a known amount is that this process began last, also where it is
    done; None before there is one."""
    work = _Display.counted
    if work is None or not work.total:
        return None
    return WorkState(work.label, work.done, work.total, work.unit, work.note)


def count_within_shard(count: float = 1) -> None:
    """Show `count` units of the current work as done, of a shard that is not committed yet."""
    if _Display.works:
        _Display.works[-1].count_within_shard(count)


def count_requests(count: float = 1) -> None:
    """Show that an engine has answered `count` requests, if the current work counts in them."""
    if _Display.works and _Display.works[-1].requests_a_unit:
        _Display.works[-1].count_within_shard(count / _Display.works[-1].requests_a_unit)


def _keep_speed(label: str, work: MeasuredWork) -> None:
    if _Display.plan is None or _Display.keep_speeds is None:
        return
    if speeds := _Display.plan.measure(label, work):
        _Display.keep_speeds(speeds)


class Progress:
    """Progress of one piece of work on stderr; of several processes only the first shows it.

    Args:
        total: how many units of work there are; None where that is not known.
        done: what an earlier run already did.
        tokens: tells tokens a second, failures and what came from a cache, counted from the
            beginning of this piece of work.
        requests_a_unit: how many requests to an engine a unit takes, so that what an engine has
            answered is shown before a shard is whole; 0: units are no requests.
        tell: gives the note as it stands, where it changes while nothing is done.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        unit: str = "rows",
        done: int = 0,
        tokens: TokenCounts | None = None,
        requests_a_unit: float = 0,
        tell: Callable[[], str] = str,
    ) -> None:
        self.requests_a_unit = requests_a_unit
        self.label = label
        self.total = total
        self.unit = unit
        self.done = done
        self._note = ""
        self._tell = tell
        self._position = ""
        self._whole_stage = False
        self._tokens = tokens
        self._before: Mapping[str, int] = {}
        self._fresh = 0
        self._within_shard = 0.0
        self._begun = self._advanced = self._printed = time.monotonic()
        self._ended = threading.Event()

    def __enter__(self) -> "Progress":
        self._restart()
        self._before = dict(self._tokens()) if self._tokens else {}
        if _Display.plan is not None:
            self._whole_stage = _Display.plan.begin(self.label)
            self._position = _Display.plan.position
        _Display.works.append(self)
        if self.total is not None:
            _Display.counted = self
        if sys.stderr.isatty() and is_main() and not _Display.quiet:
            _Display.line.show(self)
        threading.Thread(target=self._print_regularly, daemon=True).start()
        return self

    def count_within_shard(self, count: float) -> None:
        """Show this many units as done; they are not, before `advance` counts them. Time left and
        speed are those of whole shards, once there is one."""
        self._within_shard += count
        if not self._fresh:
            self._advanced = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count this many units as done."""
        self.done += count
        self._within_shard = max(0.0, self._within_shard - count)
        self._fresh += count
        self._advanced = time.monotonic()
        if self._advanced - self._printed > _SECONDS_BETWEEN_LINES:
            self._print_line()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._note, self._tell = self.note, str  # who told may hold a model
        _Display.works.remove(self)
        if _Display.between is not None and _Display.between is not self:
            _Display.between._restart()
        if kind is None or kind is KeyboardInterrupt:
            self._leave_line(finished=kind is None)
        _Display.line.hide(self)
        if self.total is not None or self._elapsed >= _SECONDS_TO_FIRST_LINE:
            self._log()
        if kind is None and self._fresh:
            work = MeasuredWork(self._fresh / self.rate, self._fresh, self.total or 0, self.unit)
            _keep_speed(self.label, work)

    @property
    def note(self) -> str:
        """Shown among the figures, such as the loss of a training."""
        return self._note or self._tell()

    @note.setter
    def note(self, note: str) -> None:
        self._note = note

    @property
    def title(self) -> str:
        """Where the run is and what is done, such as "[3/9] judging (ql)"."""
        if self.total is None and _Display.plan is not None:
            self._position = _Display.plan.position
        if self.label.startswith("judgements-"):
            return f"{self._position}judging ({self.label.removeprefix('judgements-')})"
        return self._position + _TITLES.get(self.label, self.label)

    @property
    def amount(self) -> str:
        """The amount done, such as "23 of 187 pairs" or, of an unknown total, "23 pairs"; empty if
        the amount is unknown."""
        if not self.total:
            return f"{self.done:,} {self.unit}" if self.total is None and self.done else ""
        shown = min(self.done + round(self._within_shard), self.total)
        return f"{shown:,} of {self.total:,} {self.unit}"

    @property
    def rate(self) -> float:
        """Units a second of this process's own work, up to the last finished ones: neither the
        units in flight nor their time count. Before a shard is whole, of what is done of it."""
        return self._counted / max(self._advanced - self._begun, 1e-9)

    @property
    def _counted(self) -> float:
        took = self._advanced - self._begun
        return self._fresh or (self._within_shard if took >= _SECONDS_TO_MEASURE else 0)

    @property
    def figures(self) -> str:
        """The known figures: time so far and left, of this work and of the run; the note; units and
        tokens a second; failures."""
        left = self._seconds_left
        parts = [format_duration(self._elapsed)]
        if left is not None:
            parts.append(f"{format_duration(left)} left")
        return ", ".join([*parts, *self._format_run(left), *self._format_work()])

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    @property
    def _seconds_left(self) -> float | None:
        if not self._counted or self.total is None:
            return None
        to_do = self.total - self.done + self._fresh
        if self._counted < _SHARE_TO_ESTIMATE * to_do and self._elapsed < _SECONDS_TO_ESTIMATE:
            return None
        left = (self.total - self.done - (0 if self._fresh else self._within_shard)) / self.rate
        return max(0.0, left - self._measure_pause())

    def _format_run(self, left: float | None) -> list[str]:
        if _Display.plan is None:
            return []
        so_far = format_duration(time.monotonic() - _Display.run_begun)
        of_run = _Display.plan.describe_time_left(
            left or 0.0, self._whole_stage and left is not None
        )
        return [f"run: {so_far}{', ' if of_run else ''}{of_run}"]

    def _format_work(self) -> list[str]:
        rate = [f"{self.rate:,.1f} {self.unit}/s"] if self._counted else []
        return [*([self.note] if self.note else []), *rate, *self._format_tokens()]

    def _format_tokens(self) -> list[str]:
        """Format the tokens a second, which an engine counts while a shard is still in flight."""
        if self._tokens is None:
            return []
        counted = {key: n - self._before.get(key, 0) for key, n in self._tokens().items()}
        seconds = max(self._elapsed, 1e-9)
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

    def _measure_pause(self) -> float:
        return time.monotonic() - self._advanced

    def _restart(self) -> None:
        self._begun = self._advanced = self._printed = time.monotonic()

    def _print_regularly(self) -> None:
        """Print a line after ten seconds and then every half minute, even if nothing ends: a log
        without new lines looks dead."""
        wait = _SECONDS_TO_FIRST_LINE
        while not self._ended.wait(wait):
            wait = _SECONDS_BETWEEN_LINES
            if not _Display.works or _Display.works[-1] is not self:
                continue
            self._log()
            first = self._printed == self._begun
            if time.monotonic() - self._printed >= (_SECONDS_TO_FIRST_LINE if first else wait):
                self._print_line()

    def _print_line(self) -> None:
        self._printed = time.monotonic()
        if is_main() and not _Display.quiet and not _Display.line.shown:
            self._write(f"{self._what}, {self.figures}")

    def _leave_line(self, finished: bool) -> None:
        """Print the work's last line, which stays."""
        if self.total is None and self._elapsed < _SECONDS_TO_FIRST_LINE:
            return
        if not is_main() or _Display.quiet:
            return
        took = format_duration(self._elapsed)
        figures = [f"in {took}" if finished else f"stopped after {took}", *self._format_work()]
        self._write(f"{self._what}{',' if self.amount else ''} {', '.join(figures)}")

    def _write(self, line: str) -> None:
        if _Display.line.shown:
            _Display.line.print_above(line)
        else:
            print(line, file=sys.stderr, flush=True)

    @property
    def _what(self) -> str:
        return f"{self.title}: {self.amount}" if self.amount else self.title

    def _log(self) -> None:
        if not is_main():
            return
        log_event(
            "progress",
            stage=self.label,
            done=self.done,
            total=self.total,
            unit=self.unit,
            seconds=round(self._elapsed, 3),
            figures=self.figures,
        )
