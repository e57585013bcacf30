"""Messages between the process that a person started and a training on a Ray cluster: how far the
training is, and that it is to stop."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from distill.runtime.interrupt import request_stop
from distill.runtime.progress import Progress, WorkState, read_work_state
from distill.workers.ray_pool import RayPool

_log = logging.getLogger(__name__)
SECONDS_BETWEEN_READINGS = 1.0


class ProgressActor:
    """The actor that both sides call. Each call tells it all that it knows, so that one whose node
    was lost can begin again elsewhere."""

    def __init__(self) -> None:
        self._state: WorkState | None = None
        self._stop = False

    def report(self, state: WorkState | None) -> bool:
        """Note how far the training is. Returns whether it is to stop."""
        self._state = state or self._state
        return self._stop

    def read(self, stop: bool) -> WorkState | None:
        """Read how far the training is, and say whether it is to stop."""
        self._stop = stop
        return self._state


@contextmanager
def start_progress_actor(pool: RayPool) -> Iterator[Any]:
    """Start the actor, and end it behind the training."""
    make_actor = pool.ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    actor = make_actor(ProgressActor).remote()
    try:
        yield actor
    finally:
        pool.ray.kill(actor)


def read_progress(actor: Any, stop: bool) -> WorkState | None:
    """Read how far the training is, and tell it whether it is to stop; None where the actor does
    not answer."""
    import ray

    try:
        state: WorkState | None = ray.get(actor.read.remote(stop))
    except ray.exceptions.RayError as fault:
        _log.warning("the training could not be asked how far it is: %s", fault)
        return None
    return state


def look_until_done(training: Future[None], look: Callable[[], None]) -> None:
    """Look at a training now and then, and once more when it is done: what it did last may have
    come after the look before."""
    done = False
    while not done:
        done = bool(wait([training], timeout=SECONDS_BETWEEN_READINGS).done)
        look()


@contextmanager
def report_progress(actor: Any) -> Iterator[None]:
    """Report this process's work while it trains, and stop it where the person has asked to."""
    import ray

    ended = threading.Event()

    def report() -> None:
        try:
            if ray.get(actor.report.remote(read_work_state())):
                request_stop()
        except ray.exceptions.RayError as fault:
            _log.warning("the training could not report: %s", fault)

    def report_regularly() -> None:
        while not ended.wait(SECONDS_BETWEEN_READINGS):
            report()

    thread = threading.Thread(target=report_regularly, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        report()


class RemoteProgress:
    """Shows another process's work as this one's own, one piece after the other."""

    def __init__(self) -> None:
        self._shown: Progress | None = None

    def __enter__(self) -> "RemoteProgress":
        return self

    def show(self, state: WorkState | None) -> None:
        """Show how far it is now."""
        if state is None:
            return
        shown = self._shown
        if shown is None or shown.label != state.label or state.done < shown.done:
            self._end()
            shown = Progress(state.label, state.total, state.unit, state.done).__enter__()
            self._shown = shown
        shown.note = state.note
        if state.done > shown.done:
            shown.advance(state.done - shown.done)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(kind, fault, trace)

    def _end(
        self,
        kind: type[BaseException] | None = None,
        fault: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        shown, self._shown = self._shown, None
        if shown is None:
            return
        if kind is None and shown.total is not None:  # what was done since the last look
            shown.advance(max(0, shown.total - shown.done))
        shown.__exit__(kind, fault, trace)
