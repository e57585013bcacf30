"""Send many requests to one server concurrently, and retry those whose fault may pass."""

import asyncio
import json
import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, NoReturn

import httpx

from distill.errors import DistillError, UserError
from distill.remote.address import parse_address
from distill.remote.connect import Connections
from distill.remote.endings import explain_ending, explain_giving_up, find_tls_fault, list_names
from distill.remote.faults import (
    NEW_NAMES,
    FatalFault,
    MalformedReply,
    RefusedPrompt,
    TransientFault,
    UnknownField,
    find_error_status,
    make_refusal,
    select_known_fields,
)
from distill.remote.key import ApiKey, read_key
from distill.remote.limit import AdaptiveLimit
from distill.remote.reply import (
    InvalidBody,
    TruncatedBody,
    decode_body,
    parse_json,
    read_body,
    shorten_text,
)
from distill.remote.request import MOST_BYTES, ServerRequest
from distill.remote.settings import ServerSettings

LONGEST_WAIT = 600.0
"""Seconds; a server that asks for a longer pause (Retry-After) ends the job."""
_MOST_OF_AN_ERROR = 100_000
"""Characters of it that are looked at."""
_LONGEST_BACK_OFF = 60.0
_UNABLE = (404, 405, 501)
_MALFORMED_TRIES = {True: 2, False: 4}
"""Of a server that never answered well, by whether what it gave was whole in a form of its own."""
_log = logging.getLogger(__name__)


class _Halted(DistillError):
    """The request was given up because the job has ended in the meantime."""


class ServerClient:
    """Requests to one OpenAI-compatible server. Safe to use from several threads, which take turns.

    At most `settings.concurrency` are in flight, fewer while the server is overloaded. What may
    pass (429, 5xx, time-outs, dropped connections) is asked again, after Retry-After or an
    exponential back-off with jitter, `settings.retries` times; a 429 counts only if the server
    answered nobody else in between. An error 500 that outlasts them, while the same request with
    another text is answered, is the text's own and counts as its refusal. A reply that is not what
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
        address = parse_address(settings.base_url or "", settings.name_key)
        self.url = address.base
        self.model = model
        self.left_out: set[str] = set()
        self.failures = 0
        self.limit = AdaptiveLimit(settings.concurrency)
        self._address = address
        self._settings = settings
        self._first_wait = first_wait
        self._key: ApiKey = read_key(settings.api_key_variable, settings.api_key_header)
        headers = {"Content-Type": "application/json", **self._key.header}
        self._connections = Connections(address, headers)
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
        waiting = iter(enumerate(asks))
        most = len(asks) if isinstance(asks, Sequence) else self.limit.highest
        workers = min(at_once or most, self.limit.highest)
        tasks = [
            asyncio.create_task(self._send_waiting(waiting, arrived, refused))
            for _ in range(workers)
        ]
        try:
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
        async with self._connections.open() as http:
            for number, ask in waiting:
                try:
                    await self._settle(http, number, ask, arrived, refused)
                except _Halted:
                    pass
                except UserError as fault:
                    self._fault = self._fault or fault
                    self._halt.set()
                if self._halt.is_set():
                    return

    async def _settle(
        self,
        http: httpx.AsyncClient,
        number: int,
        ask: ServerRequest,
        arrived: Callable[[int, Any], None],
        refused: Callable[[int, RefusedPrompt], None],
    ) -> None:
        try:
            reply = await self._request(http, ask)
        except RefusedPrompt as fault:
            self.failures += 1
            refused(number, fault)
        else:
            arrived(number, reply)

    async def _request(self, http: httpx.AsyncClient, ask: ServerRequest) -> Any:
        """Send a request until it has a reply or a final fault, and return what `read` takes of the
        reply."""
        tries = 0
        answered = self._answered
        answers_others = False
        while True:
            async with self.limit:
                await self._wait_until_open()
                if self._halt.is_set():
                    raise _Halted
                body = select_known_fields(ask.body, self.left_out)
                start = monotonic()
                try:
                    reply = await self._send(http, ask, body)
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
            if tries >= self._choose_retries(passing, ask.form):
                if ask.probe or not passing.may_be_of_one_prompt:
                    self._give_up(passing, tries)
                if answers_others:
                    raise RefusedPrompt(f"{passing.reason} ({tries + 1} tries)", passing.status)
                answers_others = await self._try_another_text(http, ask)
                if not answers_others:  # else a last try: it may be well only since now
                    self._give_up(passing, tries)
            await self._back_off(passing, tries)
            tries += 1

    async def _try_another_text(self, http: httpx.AsyncClient, ask: ServerRequest) -> bool:
        """Return whether the server, which fails at a request, answers it with another text."""
        try:
            await self._request(http, ask.replace_text())
        except RefusedPrompt:
            return False
        return True

    def _choose_retries(self, fault: TransientFault, form: str) -> int:
        most = self._settings.retries
        if isinstance(fault, MalformedReply) and form not in self._well_formed:
            return min(most, _MALFORMED_TRIES[fault.whole] - 1)
        return most

    async def _send(self, http: httpx.AsyncClient, ask: ServerRequest, body: dict[str, Any]) -> Any:
        """Send a request once.

        Raises:
            TransientFault, MalformedReply, RefusedPrompt, UnknownField, FatalFault: as the server
                answers.
        """
        seconds = self._settings.timeout
        try:
            async with asyncio.timeout(seconds):
                status, headers, text = await self._exchange(http, ask, json.dumps(body).encode())
        except TimeoutError:
            raise TransientFault(f"no answer within {seconds:g} s", overloaded=True) from None
        except InvalidBody as fault:
            raise MalformedReply(str(fault)) from None
        except TruncatedBody as fault:
            raise TransientFault(str(fault)) from None
        except httpx.RequestError as fault:
            self._raise_unreached(fault)
        if 200 <= status < 300:  # some frameworks answer each POST with 201
            return self._parse(ask, text, headers, body)
        if 300 <= status < 400:
            place = self._show(headers.get("location", "nowhere"))
            raise FatalFault(status, f"{status}: it redirects to {place}")
        raise self._make_refusal(status, headers, text, body)

    def _make_refusal(
        self, status: int, headers: Mapping[str, str], text: str, body: dict[str, Any]
    ) -> Exception:
        return make_refusal(status, headers, self._key.redact(text[:_MOST_OF_AN_ERROR]), body)

    async def _exchange(
        self, http: httpx.AsyncClient, ask: ServerRequest, content: bytes
    ) -> tuple[int, Mapping[str, str], str]:
        """Send one request and return the reply's status, headers and body."""
        async with http.stream("POST", self._address.join(ask.path), content=content) as response:
            body = await read_body(response, ask.most_bytes)
            return response.status_code, response.headers, decode_body(body)

    def _raise_unreached(self, fault: httpx.RequestError) -> NoReturn:
        reason = self._show(f"{type(fault).__name__}: {fault}".rstrip(": "))
        if proxy := self._connections.proxy:
            reason = f"{reason}, through the proxy {proxy.shown} of {proxy.variable}"
        raise find_tls_fault(reason) or TransientFault(reason) from None

    def _parse(
        self, ask: ServerRequest, text: str, headers: Mapping[str, str], body: dict[str, Any]
    ) -> Any:
        text = self._key.redact_written(text) if ask.keeps_words else text
        try:
            reply = parse_json(text)
            if status := find_error_status(reply):
                raise self._make_refusal(status, headers, text, body)
            return ask.read(reply)
        except InvalidBody as fault:
            raise MalformedReply(f"{fault}: {self._show(text, 80)!r}") from None
        except MalformedReply as fault:
            raise MalformedReply(f"{fault.reason}: {self._show(text, 80)}", fault.whole) from None

    def _show(self, text: str, longest: int = 300) -> str:
        """Return the beginning of a server's text for people, without the key and escapes."""
        return shorten_text(self._key.redact(text[:_MOST_OF_AN_ERROR]), longest)

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
        served = await self._list_served(http) if fault.status == 404 else None
        raise explain_ending(self.url, self.model, self._settings, fault, bool(self._key), served)

    async def _list_served(self, http: httpx.AsyncClient) -> str | None:
        """List the names of the server's models, if it says."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                async with http.stream("GET", self._address.join("/models")) as response:
                    names = list_names(
                        parse_json(decode_body(await read_body(response, MOST_BYTES)))
                    )
        except (TimeoutError, httpx.RequestError, InvalidBody, TruncatedBody):
            return None
        return self._show(names) if names else None


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
