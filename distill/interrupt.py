"""Ctrl-C with nothing lost: the first one lets the work in flight end, the second does not wait."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_NOTICE = b"\nfinishing the rows in flight; Ctrl-C again stops at once\n"
_STDERR = 2


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
        # Not print(): the signal may have come in the middle of one.
        os.write(_STDERR, _NOTICE)
