"""Ctrl-C with nothing lost: the first one lets the work in flight end, the second does not wait.
SIGTERM, with which clusters and spot instances take a machine back, does not wait for long either.
"""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_NOTICE = b"\nfinishing the rows in flight; Ctrl-C again stops at once\n"
_ABANDONED = b"\nStopped: the rows in flight took too long. The same command continues.\n"
_STDERR = 2
_TERMINATED = 128 + signal.SIGTERM
SECONDS_AFTER_SIGTERM = 8.0
"""In which work in flight may end and be committed; then the process ends as if it were killed,
which loses that work and nothing else."""


def end_soon_after_sigterm() -> None:
    """From now on SIGTERM stops this process where it is, or at the latest after some seconds,
    also where a library holds the interpreter up."""

    def stop(number: int, frame: FrameType | None) -> None:
        _end_later()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


def _end_later() -> None:
    timer = threading.Timer(SECONDS_AFTER_SIGTERM, _end_now)
    timer.daemon = True
    timer.start()


def _end_now() -> None:
    os.write(_STDERR, _ABANDONED)
    os._exit(_TERMINATED)


class Interrupt:
    """Inside it, the first SIGINT (Ctrl-C) or SIGTERM is only noted in `asked`; a further one
    raises KeyboardInterrupt at once.

    Outside the main thread, and for a signal that this process was started to ignore (nohup, a
    job in the background), nothing is changed. The old handlers come back at the end.
    """

    def __init__(self) -> None:
        self.asked = False
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def stop_if_asked(self) -> None:
        """Called where nothing is in flight.

        Raises:
            KeyboardInterrupt: if a signal came.
        """
        if self.asked:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if number == signal.SIGTERM:
            _end_later()
        # Not print(): the signal may have come in the middle of one.
        os.write(_STDERR, _NOTICE)
