"""Uploads in threads of their own, tried again until the store has them."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from distill.errors import UserError
from distill.object_store.objects import StoreFault

Upload = Callable[[], None]
"""Writes an object or several, one after the other. It may be called again after a fault."""
PATIENCE = 300.0
"""Seconds that the end of a stage waits for a store that takes nothing."""
_THREADS = 8
_MOST_WAITING = 20_000
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_logger = logging.getLogger(__name__)


class Uploads:
    """A bounded queue of uploads. A store that is away for a while stops nothing: `drain` says so
    if it stays away."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._waiting: deque[Upload] = deque()
        self._open = 0
        self._closed = False
        self.gave_up = False
        """Whether the store stayed away, or the lease was lost."""
        self._condition = threading.Condition()
        self._fault: StoreFault | None = None
        self._stopped_by: BaseException | None = None
        self._succeeded = time.monotonic()
        self._threads = [
            threading.Thread(target=self._run_uploads, daemon=True) for _ in range(_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, upload: Upload) -> bool:
        """Queue an upload. False, and it is forgotten, where too many wait: whoever lists the files
        later adds it again.

        Raises:
            UserError: if the lease was lost.
        """
        with self._condition:
            self._raise_if_stopped()
            if len(self._waiting) >= _MOST_WAITING:
                return False
            self._waiting.append(upload)
            self._open += 1
            self._condition.notify_all()
        return True

    def drain(self, below: int = 1, patience: float | None = None) -> None:
        """Wait until fewer than `below` uploads are open.

        Args:
            patience: seconds without any success; by default `PATIENCE`.

        Raises:
            UserError: if the store takes nothing for so long, refuses lastingly, or the lease was
                lost.
        """
        begun, patience = time.monotonic(), PATIENCE if patience is None else patience
        with self._condition:
            while self._open >= below:
                self._raise_if_stopped()
                if self._fault is not None:
                    idle = time.monotonic() - max(begun, self._succeeded)
                    if idle > (patience if not self._fault.lasting else _FIRST_PAUSE):
                        self.gave_up = True
                        raise UserError(
                            self._fault.where,
                            f"{self._fault.what}: {self._open} uploads wait",
                            self._fault.remedy,
                        )
                self._condition.wait(0.2)

    def close(self) -> None:
        """Stop the threads; what waits is forgotten."""
        with self._condition:
            self._closed = True
            self._waiting.clear()
            self._condition.notify_all()

    def _raise_if_stopped(self) -> None:
        if self._stopped_by is not None:
            raise self._stopped_by

    def _run_uploads(self) -> None:
        while (upload := self._take()) is not None:
            self._try_until_done(upload)
            with self._condition:
                self._open -= 1
                self._condition.notify_all()

    def _take(self) -> Upload | None:
        with self._condition:
            while not self._waiting and not self._closed:
                self._condition.wait()
            return None if self._closed else self._waiting.popleft()

    def _try_until_done(self, upload: Upload) -> None:
        pause = _FIRST_PAUSE
        while not self._closed and self._stopped_by is None:
            try:
                upload()
            except StoreFault as fault:
                self._note_fault(fault)
                with self._condition:
                    self._condition.wait_for(lambda: self._closed, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            except BaseException as fault:  # noqa: BLE001 (raised where the job waits)
                with self._condition:
                    self._stopped_by, self.gave_up = fault, True
                return
            with self._condition:
                self._succeeded, self._fault = time.monotonic(), None
            return

    def _note_fault(self, fault: StoreFault) -> None:
        with self._condition:
            first, self._fault = self._fault is None, fault
        if first:
            _logger.warning("%s %s: uploads are tried again", self._where, fault.what)
