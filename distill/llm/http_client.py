"""Asking one server many things at once, and asking again where that may help."""

import asyncio
import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any, NamedTuple, NoReturn

import httpx

import distill
from distill.errors import UserError
from distill.http_server import Key, checked_url, key_of
from distill.llm.http_faults import Fatal, Passing, Refused, UnknownField, read_error, refusal
from distill.llm.http_limit import AdaptiveLimit
from distill.recipe import LanguageModel

LONGEST_WAIT = 600.0
"""Seconds; a server that asks to be left alone for longer ends the job."""
_LONGEST_BACK_OFF = 60.0
_UNABLE = (404, 405, 501)
_NEW_NAME = {"max_tokens": "max_completion_tokens"}
_log = logging.getLogger(__name__)


class Ask(NamedTuple):
    """A request: a path below the base URL, and the body. A probe asks whether the server can do
    something: that it cannot is an answer, and ends or changes nothing."""

    path: str
    body: dict[str, Any]
    probe: bool = False


Reply = dict[str, Any]
"""A reply's JSON object; `choices` is a list that holds something."""


class _Halted(Exception):
    """Given up because the job has ended in the meantime."""


def is_reply(reply: Any) -> bool:
    """Whether this is an object with `choices`, each with a text or a message."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(
            isinstance(one, dict)
            and (isinstance(one.get("text"), str) or isinstance(one.get("message"), dict))
            for one in choices
        )
    )


class Client:
    """Requests to one OpenAI-compatible server.

    At most `settings.concurrency` are in flight, fewer while the server is overloaded. What may
    pass (429, 5xx, time-outs, dropped connections, bodies that are no reply) is asked again, after
    Retry-After or an exponential back-off with jitter, `settings.retries` times; a 429 counts only
    if the server answered nobody else in between. An optional field that the server refuses is
    left out from then on. Redirects are not followed: the key would go with them.

    Args:
        first_wait: seconds of the first back-off; each further one is twice as long.

    Raises:
        UserError: if the URL or the key is malformed.
    """

    def __init__(self, settings: LanguageModel, first_wait: float = 1.0) -> None:
        self.url = checked_url(settings.base_url or "", "llm.{}".format)
        self.model = settings.model
        self.left_out: set[str] = set()
        self.failures = 0
        self._settings = settings
        self._first_wait = first_wait
        self._key: Key = key_of(settings.api_key_variable)
        self.limit = AdaptiveLimit(settings.concurrency)
        self._tls = httpx.create_ssl_context()
        self._answered = 0
        self._open_at = 0.0
        self._told: set[str] = set()

    def ask_all(
        self,
        asks: Sequence[Ask],
        arrived: Callable[[int, Reply], None],
        refused: Callable[[int, str], None],
    ) -> None:
        """Ask everything, in order as far as there is room.

        Args:
            arrived: called with an ask's number and its reply the moment it is there.
            refused: called with an ask's number and the reason, where the server refuses it.

        Raises:
            UserError: if the server refuses the job, or does not answer in spite of all retries:
                after what was in flight has arrived.
        """
        if asks:
            asyncio.run(self._ask_all(asks, arrived, refused))

    async def _ask_all(
        self,
        asks: Sequence[Ask],
        arrived: Callable[[int, Reply], None],
        refused: Callable[[int, str], None],
    ) -> None:
        self.limit.reset()
        self._halt = asyncio.Event()
        self._fault: UserError | None = None
        waiting = iter(enumerate(asks))
        workers = min(len(asks), self.limit.highest)
        tasks = [asyncio.create_task(self._work(waiting, arrived, refused)) for _ in range(workers)]
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

    def _connection(self) -> httpx.AsyncClient:
        """A worker's own: a pool that all share looks through all its connections each time."""
        return httpx.AsyncClient(
            headers={
                "Content-Type": "application/json",
                "User-Agent": f"distill/{distill.__version__}",
                **self._key.header,
            },
            verify=self._tls,
            timeout=None,
            limits=httpx.Limits(max_connections=1),
        )

    async def _work(
        self,
        waiting: Iterator[tuple[int, Ask]],
        arrived: Callable[[int, Reply], None],
        refused: Callable[[int, str], None],
    ) -> None:
        """Ask what waits, one after another, on one connection."""
        async with self._connection() as http:
            for number, ask in waiting:
                try:
                    arrived(number, await self._answer(http, ask))
                except Refused as fault:
                    self.failures += 1
                    refused(number, fault.reason)
                except _Halted:
                    pass
                except UserError as fault:
                    self._fault = self._fault or fault
                    self._halt.set()
                if self._halt.is_set():
                    return

    async def _answer(self, http: httpx.AsyncClient, ask: Ask) -> Reply:
        """The reply to one request, however often it has to be sent."""
        tries = 0
        answered = self._answered
        while True:
            async with self.limit:
                await self._opened()
                if self._halt.is_set():
                    raise _Halted
                body = self._known_fields(ask.body)
                begun = monotonic()
                try:
                    reply = await self._send(http, ask.path, body)
                except UnknownField as fault:
                    if ask.probe:
                        raise Refused(fault.reason) from None
                    self._leave_out(fault)
                    continue
                except Fatal as fault:
                    if ask.probe and fault.status in _UNABLE and not fault.no_such_model:
                        raise Refused(fault.reason) from None
                    await self._end(http, fault)
                except Passing as fault:
                    if ask.probe and fault.status == 500 and tries:
                        raise Refused(fault.reason) from None
                    self.failures += 1
                    if fault.overloaded:
                        self.limit.overloaded(begun)
                    passing = fault
                else:
                    self._answered += 1
                    self.limit.succeeded()
                    return reply
            if passing.status == 429 and self._answered > answered:
                tries = 0
            answered = self._answered
            if tries == self._settings.retries:
                self._give_up(passing, tries)
            await self._back_off(passing, tries)
            tries += 1

    async def _send(self, http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Reply:
        """Send a request once.

        Raises:
            Passing, Refused, UnknownField, Fatal: as the server answers.
        """
        seconds = self._settings.timeout
        try:
            async with asyncio.timeout(seconds):
                response = await http.post(self.url + path, content=json.dumps(body).encode())
        except TimeoutError:
            raise Passing(f"no answer within {seconds:g} s", overloaded=True) from None
        except httpx.RequestError as fault:
            name = type(fault).__name__
            raise Passing(self._key.redact(f"{name}: {fault}".rstrip(": "))) from None
        if response.status_code == 200:
            return self._parsed(response)
        text = self._key.redact(response.text)
        if response.is_redirect:
            place = self._key.redact(response.headers.get("location", "nowhere"))
            raise Fatal(response.status_code, f"{response.status_code}: it redirects to {place}")
        raise refusal(response.status_code, response.headers, text, body)

    def _parsed(self, response: httpx.Response) -> Reply:
        text = self._key.redact_written(response.text)
        try:
            reply = json.loads(text)
        except (ValueError, RecursionError):
            raise Passing(f"invalid JSON: {self._key.redact(text[:80])!r}") from None
        if not is_reply(reply):
            said = read_error(self._key.redact(text)).message
            raise Passing(f"a reply without choices: {said}")
        return reply

    def _known_fields(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body with fields left out or renamed that this server does not know."""
        if not self.left_out:
            return body
        names = {field: _NEW_NAME.get(field) for field in self.left_out}
        known = {field: value for field, value in body.items() if field not in names}
        known.update({new: body[field] for field, new in names.items() if new and field in body})
        return known

    def _leave_out(self, fault: UnknownField) -> None:
        """Several requests in flight may learn the same: it is said once."""
        if fault.field in self.left_out:
            return
        self.left_out.add(fault.field)
        new = _NEW_NAME.get(fault.field)
        done = f"it is sent as {new}" if new else "it is left out from now on"
        _log.warning("%s does not take %r: %s (%s)", self.url, fault.field, done, fault.reason)

    # --- waiting ------------------------------------------------------------------------------

    async def _back_off(self, fault: Passing, tries: int) -> None:
        if fault.wait is not None and fault.wait > LONGEST_WAIT:
            self._give_up(fault, tries)
        wait = min(_LONGEST_BACK_OFF, self._first_wait * 2**tries) * random.uniform(0.5, 1.0)
        if fault.wait is not None:
            # The server means whoever holds the key, not this one request.
            self._open_at = max(self._open_at, monotonic() + fault.wait)
            wait = min(wait, 1.0)
        kind = fault.reason.partition(":")[0]
        if kind not in self._told:
            self._told.add(kind)
            _log.warning("%s: %s; asking again", self.url, fault.reason)
        await self._sleep(wait)

    async def _opened(self) -> None:
        """Wait for as long as the server asked to be left alone, and up to a first back-off longer:
        all that wait at once would be its next overload."""
        while (wait := self._open_at - monotonic()) > 0:
            await self._sleep(wait + random.uniform(0.0, self._first_wait))

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the job."""
        try:
            await asyncio.wait_for(self._halt.wait(), seconds)
        except TimeoutError:
            return
        raise _Halted

    # --- the end ------------------------------------------------------------------------------

    def _give_up(self, fault: Passing, tries: int) -> NoReturn:
        if fault.wait is not None and fault.wait > LONGEST_WAIT:
            what = f"asks to be left alone for {fault.wait / 60:.0f} minutes ({fault.reason})"
        else:
            what = f"did not answer for model {self.model!r} in {tries + 1} tries ({fault.reason})"
        raise UserError(
            self.url,
            what,
            "once the server is well, the same command continues: every reply so far is kept; "
            "llm.concurrency, llm.timeout and llm.retries say how it is asked",
        )

    async def _end(self, http: httpx.AsyncClient, fault: Fatal) -> NoReturn:
        variable = self._settings.api_key_variable
        if fault.status in (401, 403):
            given = "refuses the key in" if self._key else "wants a key, and there is none in"
            what = f"{given} {variable}, for model {self.model!r} ({fault.reason})"
            remedy = f"set {variable} to a key that may use this model (llm.api_key_variable)"
        elif fault.status == 404:
            what = f"does not serve model {self.model!r} here ({fault.reason})"
            remedy = await self._what_it_serves(http)
        elif 300 <= fault.status < 400:
            what = f"is not where model {self.model!r} is served ({fault.reason})"
            remedy = "set llm.base_url to the address itself: redirects are not followed"
        else:
            what = f"refuses model {self.model!r} ({fault.reason})"
            remedy = "mend what the server names; the same command continues"
        raise UserError(self.url, what, remedy)

    async def _what_it_serves(self, http: httpx.AsyncClient) -> str:
        """The remedy for a wrong model or path, with the models' names where the server says."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                response = await http.get(self.url + "/models")
            names = [str(model["id"]) for model in response.json()["data"]][:8]
        except (TimeoutError, httpx.RequestError, ValueError, KeyError, TypeError):
            return "check llm.model, and llm.base_url, which mostly ends in /v1"
        return self._key.redact(f"set llm.model to one that it serves: {', '.join(names)}")
