"""Stop on Ctrl-C without losing work: the first one lets the work in flight end, the second does
not wait."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

_ABANDONED = b"\nStopped: what was in flight took too long. The same command continues.\n"
_STDERR = 2
_TERMINATED = 128 + signal.SIGTERM
SECONDS_AFTER_SIGTERM = 8.0
"""In which work in flight may end and be committed; then the process ends as if it were killed,
which loses that work and nothing else."""


def end_soon_after_sigterm() -> None:
    """Let SIGTERM stop this process at once, or at the latest after some seconds while a library
    computes without coming back to Python. Changes nothing outside the main thread, and where this
    process was started to ignore SIGTERM."""
    outside = threading.current_thread() is not threading.main_thread()
    if outside or signal.getsignal(signal.SIGTERM) in (signal.SIG_IGN, None):
        return
    signal.signal(signal.SIGTERM, _stop)
    # Python runs handlers between two steps of its own; into a pipe a signal is written at once.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget_sigterm)
    threading.Thread(target=_end_after_sigterm, args=(reading,), daemon=True).start()


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _forget_sigterm() -> None:
    """Reset SIGTERM in a forked process, such as one that reads a library's data: it would write
    its signals into its parent's pipe."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_after_sigterm(reading: int) -> None:
    while signal.SIGTERM not in os.read(reading, 64):
        continue
    time.sleep(SECONDS_AFTER_SIGTERM)
    _end_now()


def _end_now() -> None:
    os.write(_STDERR, _ABANDONED)
    os._exit(_TERMINATED)


class _Elsewhere:
    """A note that another process was asked to stop, and passed it on to this one."""

    requested = False


def request_stop() -> None:
    """Stop this process's work as a first Ctrl-C would: the process that a person sees was asked
    to, and this one works for it."""
    _Elsewhere.requested = True


class Interrupt:
    """A context in which the first SIGINT (Ctrl-C) or SIGTERM only sets `is_requested`; a further
    SIGINT raises KeyboardInterrupt at once. A further SIGTERM does not: where a job system signals
    a launcher and its workers, each worker gets a second one from the launcher.

    Outside the main thread, and for a signal that this process was started to ignore (nohup, a
    job in the background), nothing is changed. The old handlers come back at the end.

    Args:
        unit: what is in flight, as the person is told.
    """

    def __init__(self, unit: str = "rows") -> None:
        self._is_signalled = False
        self._notice = f"\nfinishing the {unit} in flight; Ctrl-C again stops at once\n".encode()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            # None: a handler that is not Python's, which Python could not put back.
            if before not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @property
    def is_requested(self) -> bool:
        """Whether to stop: a signal came, or `request_stop` was called."""
        return self._is_signalled or _Elsewhere.requested

    def stop_if_requested(self) -> None:
        """Stop if a signal came; to be called when nothing is in flight.

        Raises:
            KeyboardInterrupt: if a signal came.
        """
        if self.is_requested:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._is_signalled:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self._is_signalled = True
        # Not print(): the signal may have come in the middle of one.
        os.write(_STDERR, self._notice)
