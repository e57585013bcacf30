"""Send many requests to one server concurrently, and retry those whose fault may pass."""

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, NoReturn

import httpx

from distill.errors import DistillError, UserError
from distill.remote.endings import explain_ending, explain_giving_up
from distill.remote.exchange import ServerExchange
from distill.remote.faults import (
    NEW_NAMES,
    FatalFault,
    MalformedReply,
    RefusedPrompt,
    TransientFault,
    UnknownField,
    select_known_fields,
)
from distill.remote.limit import AdaptiveLimit
from distill.remote.request import ServerRequest
from distill.remote.settings import ServerSettings

LONGEST_WAIT = 600.0
"""Seconds; a server that asks for a longer pause (Retry-After) ends the job."""
_LONGEST_BACK_OFF = 60.0
_UNABLE = (404, 405, 501)
_TRIES_APART = 2
_MALFORMED_TRIES = {True: 2, False: 4}
"""Of a server that never answered well, by whether what it gave was whole in a form of its own."""
_log = logging.getLogger(__name__)


class _Halted(DistillError):
    """The request was given up because the job has ended in the meantime."""


class _FailedRequest(DistillError):
    """A request failed at each try, by its prompt or by the server."""

    def __init__(self, fault: TransientFault, tries: int) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.tries = tries


class ServerClient:
    """Requests to one OpenAI-compatible server. Safe to use from several threads, which take turns.

    At most `settings.concurrency` are in flight, fewer while the server is overloaded. What may
    pass (429, 5xx, time-outs, dropped connections) is asked again, after Retry-After or an
    exponential back-off with jitter, `settings.retries` times; a 429 counts only if the server
    answered nobody else in between. A request that fails at each of these tries (500, 502, 503,
    504, no whole reply), while the same request with another text is answered, may have met the
    faults of others, such as a prompt that ends the server's process each time. It is sent twice
    more when all others are done, alone and each time after another text was answered: what fails
    then is the text's own and counts as its refusal. A reply that is not what
    was asked for is asked for again as often only if the server has answered such an ask well
    before: else it is the server's way. An optional field that the server refuses is left out from
    then on. Redirects are not followed: the key would go with them.

    Args:
        first_wait: seconds of the first back-off; each further one is twice as long.

    Raises:
        UserError: if the URL or the key is malformed, or the environment names a proxy or
            certificates that cannot be used.
    """

    def __init__(self, settings: ServerSettings, model: str, first_wait: float = 1.0) -> None:
        self._exchange = ServerExchange(settings)
        self.url = self._exchange.url
        self.model = model
        self.left_out: set[str] = set()
        self.failures = 0
        self.limit = AdaptiveLimit(settings.concurrency)
        self._settings = settings
        self._first_wait = first_wait
        self._answered = 0
        self._well_formed: set[str] = set()
        self._open_at = 0.0
        self._warned_kinds: set[str] = set()
        self._turn = threading.Lock()

    def ask_all(
        self,
        asks: Iterable[ServerRequest],
        arrived: Callable[[int, Any], None],
        refused: Callable[[int, RefusedPrompt], None],
        at_once: int | None = None,
    ) -> None:
        """Send all requests, in order as far as the limit of concurrent ones allows.

        Args:
            asks: taken one by one as there is room, so that they may depend on earlier replies.
            arrived: called with an ask's number and what `read` takes of its reply, the moment it
                is there.
            refused: called with an ask's number and the fault, where the server refuses it.
            at_once: number of asks that are worth a connection of their own; by default all.

        Raises:
            UserError: if the server refuses the job, or does not answer in spite of all retries:
                after what was in flight has arrived.
        """
        if isinstance(asks, Sequence) and not asks:
            return
        with self._turn:
            _run(self._ask_all, asks, arrived, refused, at_once)

    async def _ask_all(
        self,
        asks: Iterable[ServerRequest],
        arrived: Callable[[int, Any], None],
        refused: Callable[[int, RefusedPrompt], None],
        at_once: int | None,
    ) -> None:
        self.limit.reset()
        self._halt = asyncio.Event()
        self._fault: UserError | None = None
        self._failed: list[tuple[int, ServerRequest, _FailedRequest]] = []
        waiting = iter(enumerate(asks))
        most = len(asks) if isinstance(asks, Sequence) else self.limit.highest
        workers = min(at_once or most, self.limit.highest)
        tasks = [
            asyncio.create_task(self._send_waiting(waiting, arrived, refused))
            for _ in range(workers)
        ]
        try:
            await asyncio.wait(tasks)
            if self._failed:
                tasks.append(asyncio.create_task(self._send_apart(arrived, refused)))
                await asyncio.wait(tasks)
        except asyncio.CancelledError:  # Ctrl-C: what is in flight is paid for
            self._halt.set()
            await asyncio.wait(tasks)
            raise
        for task in tasks:
            task.result()
        if self._fault:
            raise self._fault

    async def _send_waiting(
        self,
        waiting: Iterator[tuple[int, ServerRequest]],
        arrived: Callable[[int, Any], None],
        refused: Callable[[int, RefusedPrompt], None],
    ) -> None:
        """Send waiting requests, one after another, on one connection. A pool that all workers
        share would look through all its connections each time."""
        async with self._exchange.open() as http:
            for number, ask in waiting:
                try:
                    await self._settle(number, self._request(http, ask), arrived, refused)
                except _FailedRequest as failed:
                    self._failed.append((number, ask, failed))
                if self._halt.is_set():
                    return

    async def _send_apart(
        self,
        arrived: Callable[[int, Any], None],
        refused: Callable[[int, RefusedPrompt], None],
    ) -> None:
        """Send the requests that failed beside others once more, one at a time."""
        async with self._exchange.open() as http:
            for number, ask, failed in self._failed:
                reply = self._request_apart(http, ask, failed)
                await self._settle(number, reply, arrived, refused)

    async def _settle(
        self,
        number: int,
        request: Coroutine[Any, Any, Any],
        arrived: Callable[[int, Any], None],
        refused: Callable[[int, RefusedPrompt], None],
    ) -> None:
        try:
            try:
                reply = await request
            except RefusedPrompt as fault:
                self.failures += 1
                refused(number, fault)
            else:
                arrived(number, reply)
        except _Halted:
            pass
        except UserError as fault:
            self._fault = self._fault or fault
            self._halt.set()

    async def _request_apart(
        self, http: httpx.AsyncClient, ask: ServerRequest, failed: _FailedRequest
    ) -> Any:
        """Send a request that failed, while no other is in flight, each time after the server has
        answered another text."""
        fault = failed.fault
        for _ in range(_TRIES_APART):
            await self._check_others(http, ask, failed)
            try:
                return await self._request(http, ask, retries=0)
            except _FailedRequest as again:
                fault = again.fault
            await self._back_off(fault, 0)
        raise RefusedPrompt(f"{fault.reason} ({failed.tries + _TRIES_APART} tries)", fault.status)

    async def _request(
        self, http: httpx.AsyncClient, ask: ServerRequest, retries: int | None = None
    ) -> Any:
        """Send a request until it has a reply or a final fault, and return what `read` takes of the
        reply.

        Args:
            retries: after a fault that may be the prompt's own; by default those of the settings.
        """
        tries = 0
        answered = self._answered
        while True:
            async with self.limit:
                await self._wait_until_open()
                if self._halt.is_set():
                    raise _Halted
                body = select_known_fields(ask.body, self.left_out)
                start = monotonic()
                try:
                    reply = await self._exchange.send(http, ask, body)
                except UnknownField as fault:
                    if ask.probe:
                        raise RefusedPrompt(fault.reason) from None
                    self._leave_out(fault)
                    continue
                except FatalFault as fault:
                    if ask.probe and fault.status in _UNABLE and not fault.no_such_model:
                        raise RefusedPrompt(fault.reason) from None
                    await self._end(http, fault)
                except TransientFault as fault:
                    if ask.probe and fault.status == 500 and tries:
                        raise RefusedPrompt(fault.reason) from None
                    self.failures += 1
                    if fault.overloaded:
                        self.limit.lower(start)
                    passing = fault
                else:
                    self._answered += 1
                    self._well_formed.add(ask.form)
                    self.limit.increase()
                    return reply
            if passing.status == 429 and self._answered > answered:
                tries = 0
            answered = self._answered
            own = passing.may_be_of_one_prompt and not ask.probe
            if own and tries == retries:
                raise _FailedRequest(passing, tries + 1)
            if tries >= self._choose_retries(passing, ask.form):
                if not own:
                    self._give_up(passing, tries)
                await self._check_others(http, ask, failed := _FailedRequest(passing, tries + 1))
                raise failed
            await self._back_off(passing, tries)
            tries += 1

    async def _check_others(
        self, http: httpx.AsyncClient, ask: ServerRequest, failed: _FailedRequest
    ) -> None:
        """Check that the server answers a request that failed with another text; else the job ends.

        Raises:
            UserError: if it does not.
        """
        try:
            await self._request(http, ask.replace_text())
        except RefusedPrompt:
            self._give_up(failed.fault, failed.tries - 1)

    def _choose_retries(self, fault: TransientFault, form: str) -> int:
        most = self._settings.retries
        if isinstance(fault, MalformedReply) and form not in self._well_formed:
            return min(most, _MALFORMED_TRIES[fault.whole] - 1)
        return most

    def _leave_out(self, fault: UnknownField) -> None:
        """Leave a field out of all further requests. Several requests in flight may learn this at
        once: it is logged once."""
        if fault.field in self.left_out:
            return
        self.left_out.add(fault.field)
        new = NEW_NAMES.get(fault.field)
        done = f"it is sent as {new}" if new else "it is left out from now on"
        _log.warning("%s does not take %r: %s (%s)", self.url, fault.field, done, fault.reason)

    # --- waiting ------------------------------------------------------------------------------

    async def _back_off(self, fault: TransientFault, tries: int) -> None:
        if fault.wait is not None and fault.wait > LONGEST_WAIT:
            self._give_up(fault, tries)
        wait = min(_LONGEST_BACK_OFF, self._first_wait * 2**tries) * random.uniform(0.5, 1.0)
        if fault.wait:
            # The server means whoever holds the key, not this one request.
            self._open_at = max(self._open_at, monotonic() + fault.wait)
            wait = min(wait, 1.0)
        kind = fault.reason.partition(":")[0]
        if kind not in self._warned_kinds:
            self._warned_kinds.add(kind)
            _log.warning("%s: %s; asking again", self.url, fault.reason)
        await self._sleep(wait)

    async def _wait_until_open(self) -> None:
        """Wait until a rate limit ends, and up to a first back-off longer: all requests that wait
        would otherwise overload the server at once."""
        while (wait := self._open_at - monotonic()) > 0:
            await self._sleep(wait + random.uniform(0.0, self._first_wait))

    async def _sleep(self, seconds: float) -> None:
        """Sleep until the time is over or the job ends."""
        try:
            await asyncio.wait_for(self._halt.wait(), seconds)
        except TimeoutError:
            return
        raise _Halted

    # --- the end ------------------------------------------------------------------------------

    def _give_up(self, fault: TransientFault, tries: int) -> NoReturn:
        too_patient = fault.wait is not None and fault.wait > LONGEST_WAIT
        raise explain_giving_up(self.url, self.model, self._settings, fault, tries + 1, too_patient)

    async def _end(self, http: httpx.AsyncClient, fault: FatalFault) -> NoReturn:
        served = await self._exchange.list_served(http) if fault.status == 404 else None
        has_key = self._exchange.has_key
        raise explain_ending(self.url, self.model, self._settings, fault, has_key, served)


def _run(job: Callable[..., Any], *arguments: Any) -> None:
    """Run a coroutine to its end, in a thread of its own if an event loop runs already, as in a
    notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(job(*arguments))
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(job(*arguments))).result()
