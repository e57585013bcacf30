"""Parse a server's address, and the `Retry-After` header by which a server limits the rate of
requests."""

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

from distill.errors import UserError

_LIKE = "write it like http://localhost:8000/v1"
_SECRET = re.compile(r"key|token|secret|sig|pass|auth|code|cred|jwt", re.IGNORECASE)
"""Names of query fields that may hold a key."""
_EVER = 1e9
"""Seconds; a server that asks for more means the same."""


@dataclass(frozen=True)
class Address:
    """The address of a server. `base` is what errors show: without query and trailing slash."""

    base: str
    query: str
    scheme: str
    host: str

    def join(self, path: str) -> str:
        """Return the address of an endpoint below the base, such as /embeddings."""
        return f"{self.base}{path}?{self.query}" if self.query else self.base + path

    @property
    def is_local(self) -> bool:
        """Whether this is the machine itself, which is never reached through a proxy."""
        name = self.host.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or address.is_unspecified


def parse_address(url: str, key: Callable[[str], str]) -> Address:
    """Check and parse a server's address.

    Args:
        key: what the settings beside it are called, such as llm.base_url for base_url.

    Raises:
        UserError: if it is no http or https address, or holds a user, a password, a fragment, or a
            query that may be a key. What might be secret of it is not shown.
    """
    where, url = key("base_url"), url.strip()
    if any(c.isspace() or not c.isprintable() for c in url) and "@" not in url:
        _refuse(where, f"is no address of a server: {_shorten(url.partition('?')[0])}", _LIKE)
    if "@" in url:
        _refuse(
            where,
            "holds a user or password",
            f"take it out: a key comes from the environment alone ({key('api_key_variable')})",
        )
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as fault:
        _refuse(where, f"is no address of a server: {fault}", _LIKE)
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
    if parts.scheme not in ("http", "https") or not host or port == 0:
        _refuse(where, f"is no address of a server: {_shorten(shown)}", _LIKE)
    if parts.fragment:
        _refuse(where, f"holds a fragment (#...): {_shorten(shown)}", "take it out")
    _check_query(where, parts.query, shown, key)
    _check_host(where, url, host, shown)
    base = shown.rstrip("/")
    return Address(base, parts.query, parts.scheme, host)


def _check_query(where: str, query: str, shown: str, key: Callable[[str], str]) -> None:
    """Refuse a key among the query's fields: it would be written into the run with the recipe.
    Other fields, such as Azure's api-version, are sent along."""
    fields = parse_qsl(query, keep_blank_values=True)
    if query and not (fields and all(of and not _SECRET.search(name) for name, of in fields)):
        _refuse(
            where,
            f"holds a query that may be a key: {_shorten(shown)}?...",
            f"take it out: a key comes from the environment alone ({key('api_key_variable')}), in "
            f"the header that {key('api_key_header')} names",
        )


def _check_host(where: str, url: str, host: str, shown: str) -> None:
    """Check the host as the resolver and the client will read it."""
    import httpx

    try:
        host.encode("idna")
        _ = httpx.URL(url).host
    except (httpx.InvalidURL, UnicodeError) as fault:
        reason = str(fault).splitlines()[0]
        _refuse(where, f"is no address of a server: {_shorten(shown)} ({_shorten(reason)})", _LIKE)


def _refuse(where: str, what: str, remedy: str) -> NoReturn:
    raise UserError(where, what, remedy) from None


def _shorten(text: str) -> str:
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 120 else text[:117] + "..."


def parse_retry_after(value: str | None) -> float | None:
    """Parse a Retry-After header, in seconds or as an HTTP date (RFC 9110, section 10.2.3), to
    seconds from now; None if there is none."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _count_seconds_until(value)
    return None if math.isnan(seconds) else min(max(0.0, seconds), _EVER)


def _count_seconds_until(date: str) -> float:
    """Compute the seconds until an HTTP date; NaN if it is none."""
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.nan
