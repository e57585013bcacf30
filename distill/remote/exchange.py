"""Send one request to a server once, and read its reply."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import httpx

from distill.remote.address import parse_address
from distill.remote.connect import Connections
from distill.remote.endings import find_tls_fault, list_names
from distill.remote.faults import (
    FatalFault,
    MalformedReply,
    TransientFault,
    find_error_status,
    make_refusal,
)
from distill.remote.key import ApiKey, read_key
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

_MOST_OF_AN_ERROR = 100_000
"""Characters of it that are looked at."""


class ServerExchange:
    """Requests and replies between a server and whoever holds its key, which is in no text that
    comes back.

    Raises:
        UserError: if the URL or the key is malformed, or the environment names a proxy or
            certificates that cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._address = parse_address(settings.base_url or "", settings.name_key)
        self._timeout = settings.timeout
        self._key: ApiKey = read_key(settings.api_key_variable, settings.api_key_header)
        headers = {"Content-Type": "application/json", **self._key.header}
        self._connections = Connections(self._address, headers)
        self.url = self._address.base
        self.has_key = bool(self._key)
        self.open = self._connections.open

    async def send(self, http: httpx.AsyncClient, ask: ServerRequest, body: dict[str, Any]) -> Any:
        """Send a request once.

        Raises:
            TransientFault, MalformedReply, RefusedPrompt, UnknownField, FatalFault: as the server
                answers.
        """
        seconds = self._timeout
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

    async def _exchange(
        self, http: httpx.AsyncClient, ask: ServerRequest, content: bytes
    ) -> tuple[int, Mapping[str, str], str]:
        """Send one request and return the reply's status, headers and body."""
        async with http.stream("POST", self._address.join(ask.path), content=content) as response:
            body = await read_body(response, ask.most_bytes)
            return response.status_code, response.headers, decode_body(body)

    async def list_served(self, http: httpx.AsyncClient) -> str | None:
        """List the names of the server's models, if it says."""
        try:
            async with asyncio.timeout(self._timeout):
                async with http.stream("GET", self._address.join("/models")) as response:
                    names = list_names(
                        parse_json(decode_body(await read_body(response, MOST_BYTES)))
                    )
        except (TimeoutError, httpx.RequestError, InvalidBody, TruncatedBody):
            return None
        return self._show(names) if names else None

    def _make_refusal(
        self, status: int, headers: Mapping[str, str], text: str, body: dict[str, Any]
    ) -> Exception:
        return make_refusal(status, headers, self._key.redact(text[:_MOST_OF_AN_ERROR]), body)

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
