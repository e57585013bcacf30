"""Limit the number of requests in flight: additive increase, multiplicative decrease (Chiu and Jain
1989), as TCP finds the rate that a network bears."""

import asyncio
from collections import deque
from time import monotonic
from types import TracebackType


class AdaptiveLimit:
    """An asynchronous context that at most `limit` tasks enter at once.

    The limit begins at `highest`. An overloaded server halves it, but once only for the requests
    that were in flight together; each round of `limit` successes raises it by one.
    """

    def __init__(self, highest: int) -> None:
        self.highest = highest
        self.limit = float(highest)
        self.reset()

    def reset(self) -> None:
        """Forget the requests in flight, for a new event loop; the limit stays."""
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._cut_at = 0.0

    async def __aenter__(self) -> None:
        while self._running >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._running += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running -= 1
        for _ in range(int(self.limit) - self._running):
            if self._waiting and not (turn := self._waiting.popleft()).done():
                turn.set_result(None)

    def increase(self) -> None:
        """Raise the limit after a successful request: by one after `limit` of them."""
        self.limit = min(self.highest, self.limit + 1 / self.limit)

    def lower(self, start: float) -> None:
        """Halve the limit after a request that was sent at `begun` (monotonic seconds) met an
        overloaded server."""
        if start >= self._cut_at:
            self.limit = max(1.0, self.limit / 2)
            self._cut_at = monotonic()
