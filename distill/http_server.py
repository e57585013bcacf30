"""What every client of a server needs: its address, the key to it, which is taken from the
environment and written nowhere, and how long it asks to be left alone."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from distill.errors import UserError

_MASK = "[key]"
_SHORTEST_SECRET = 8
"""Local servers take any word as a key, and a word may stand in what an LLM writes."""


@dataclass(frozen=True)
class Key:
    """An API key, or none. Its repr does not hold it."""

    _secret: str = field(repr=False)

    def __bool__(self) -> bool:
        return bool(self._secret)

    @property
    def header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._secret}"} if self._secret else {}

    def redact(self, text: str) -> str:
        """`text`, a server's error, without the key."""
        return text.replace(self._secret, _MASK) if self._secret else text

    def redact_written(self, text: str) -> str:
        """`text`, a server's reply, without the key if that is long enough to be a secret."""
        return self.redact(text) if len(self._secret) >= _SHORTEST_SECRET else text


def key_of(variable: str) -> Key:
    """The key that an environment variable holds.

    Raises:
        UserError: if it cannot be sent in a header. The message does not hold it.
    """
    secret = os.environ.get(variable, "").strip()
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise UserError(
            variable,
            "holds something that cannot be an API key: a blank or a character beyond ASCII",
            f"set {variable} to the key alone, on one line",
        )
    return Key(secret)


def checked_url(url: str, key: Callable[[str], str]) -> str:
    """`url` without a slash at its end.

    Args:
        key: what the settings beside it are called, such as llm.base_url for base_url.

    Raises:
        UserError: if it is no http or https address, or holds a user, password, query or fragment.
    """
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise UserError(
            key("base_url"),
            "holds a user or password",
            f"take it out: a key comes from the environment alone ({key('api_key_variable')})",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UserError(
            key("base_url"),
            f"is no address of a server: {parts.scheme}://{parts.netloc}{parts.path}",
            "write it like http://localhost:8000/v1",
        )
    return url.rstrip("/")


def retry_after(value: str | None) -> float | None:
    """Seconds from now that a Retry-After header names, in seconds or as an HTTP date (RFC 9110,
    section 10.2.3); None where it names none."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None
