"""Asks an `/embeddings` endpoint, again where a fault may pass. The key goes into the header of a
request and nowhere else: not into errors, even where the server repeats it."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import httpx

from distill.errors import UserError
from distill.http_server import checked_url, key_of, retry_after
from distill.recipe import Served

_PASSING = {408, 409, 425, 429}
_FIRST_WAIT = 0.5
_LONGEST_BACK_OFF = 60.0
_LONGEST_WAIT = 600.0
"""Seconds for which a server may ask to be left alone; beyond that the job ends."""
T = TypeVar("T")


class Malformed(Exception):
    """A reply of status 200 that does not hold what was asked for."""


class _Passing(Exception):
    """A fault that may pass; `wait` are the seconds for which the server asks to be left alone."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class _Halted(Exception):
    """Another request of the same job has failed for good."""


class EndpointClient:
    """Safe to use from several threads.

    Raises:
        UserError: if the address is none.
    """

    def __init__(self, served: Served, model: str) -> None:
        self.url = checked_url(served.base_url or "", served.key)
        self.model = model
        self._settings = served
        self._key = key_of(served.api_key_variable)
        self._http = httpx.Client(
            headers=self._key.header,
            timeout=served.timeout,
            limits=httpx.Limits(max_connections=served.concurrency),
        )
        self._halt = threading.Event()

    @contextmanager
    def job(self) -> Iterator[None]:
        """Requests of one job: when it ends, by a fault or Ctrl-C, none of them is asked again."""
        self._halt.clear()
        try:
            yield
        finally:
            self._halt.set()

    def embed(self, texts: list[str], read: Callable[[Any, int], T]) -> T:
        """What `read` makes of the reply for these texts, given it and their number.

        Raises:
            UserError: if the server refuses, or does not answer in spite of all retries. No key is
                in it.
        """
        tries = 0
        while True:
            try:
                return read(self._ask(texts), len(texts))
            except Malformed as fault:
                passing = _Passing(self._key.redact(str(fault)))
            except _Passing as fault:
                passing = fault
            longest = passing.wait is not None and passing.wait > _LONGEST_WAIT
            if tries == self._settings.retries or longest:
                self._give_up(passing, tries)
            wait = min(_LONGEST_BACK_OFF, _FIRST_WAIT * 2**tries) * random.uniform(0.5, 1.0)
            self._sleep(max(wait, passing.wait or 0.0))
            tries += 1

    def _ask(self, texts: list[str]) -> Any:
        """The parsed reply to one request, sent once."""
        body = {"model": self.model, "input": texts, "encoding_format": "float"}
        try:
            reply = self._http.post(f"{self.url}/embeddings", json=body)
        except httpx.TimeoutException as fault:
            raise _Passing(f"no answer in time ({type(fault).__name__})") from None
        except httpx.RequestError as fault:
            raise _Passing(self._key.redact(f"{type(fault).__name__}: {fault}")) from None
        if reply.status_code in _PASSING or reply.status_code >= 500:
            wait = retry_after(reply.headers.get("retry-after"))
            raise _Passing(self._said(reply), wait)
        if reply.status_code != 200:
            self._refuse(reply)
        try:
            return json.loads(reply.text)
        except (ValueError, RecursionError):
            raise _Passing(f"invalid JSON: {self._key.redact(reply.text[:80])!r}") from None

    def _sleep(self, seconds: float) -> None:
        if self._halt.wait(seconds):
            raise _Halted

    def _said(self, reply: httpx.Response) -> str:
        """An error's status and the beginning of what the server says of it."""
        text = " ".join(self._key.redact(reply.text).split())
        return f"{reply.status_code}: {text[:300]}"

    # --- the end ------------------------------------------------------------------------------

    def _give_up(self, fault: _Passing, tries: int) -> NoReturn:
        asks = fault.wait is not None and fault.wait > _LONGEST_WAIT
        what = f"did not answer for model {self.model!r} in {tries + 1} tries ({fault.reason})"
        if asks:
            what = f"asks to be left alone for {fault.wait:.0f} s ({fault.reason})"
        remedy = "once the server is well, the same command continues"
        if section := self._settings.section:
            keys = f"{section}.concurrency, {section}.timeout and {section}.retries"
            remedy = f"{remedy}; {keys} say how it is asked"
        raise UserError(self.url, what, remedy)

    def _refuse(self, reply: httpx.Response) -> NoReturn:
        said, status = self._said(reply), reply.status_code
        key, variable = self._settings.key, self._settings.api_key_variable
        if status in (401, 403):
            given = "refuses the key in" if self._key else "wants a key, and there is none in"
            what = f"{given} {variable}, for model {self.model!r} ({said})"
            remedy = f"set {variable} to a key that may use it ({key('api_key_variable')})"
        elif status == 404:
            what = f"does not embed with model {self.model!r} here ({said})"
            name = key("model") if self._settings.section else "its name"
            remedy = f"check {name}, and {key('base_url')}, which mostly ends in /v1"
        elif reply.is_redirect:
            place = self._key.redact(reply.headers.get("location", "nowhere"))
            what = f"is not where model {self.model!r} is served: it redirects to {place}"
            remedy = f"set {key('base_url')} to the address itself: redirects are not followed"
        else:
            what = f"refuses texts for model {self.model!r} ({said})"
            remedy = (
                f"mend what the server names: texts too long need a smaller {key('max_tokens')}"
            )
        raise UserError(self.url, what, remedy)
