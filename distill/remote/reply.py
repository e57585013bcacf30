"""Read a server's replies within limits, without trusting them.

A reply may be endless, a bomb of gzip, nested a hundred thousand deep, or hold escapes that write
to the terminal of whoever reads an error.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from distill.errors import DistillError

_PIECE = 1 << 20
_UNSUSPICIOUS = 4 << 20
"""Bytes up to which a reply may be packed as tightly as it likes."""
_MOST_RATIO = 100
"""Of bytes unpacked to bytes sent; JSON of numbers or prose has 2 to 10."""
_LONGEST = 300
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor, the screen
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])"  # OSC and others: titles, links
    r"[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]?"
)
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Controls, and marks that turn the direction of writing."""


class InvalidBody(DistillError):
    """A body that cannot be a valid reply."""


class TruncatedBody(DistillError):
    """A compressed body that broke off or is damaged."""


async def read_body(response: httpx.Response, most_bytes: int) -> bytes:
    """Read and decompress the body of a streamed reply.

    Raises:
        InvalidBody: if it is longer than `most_bytes`, packed in a way that was not asked for, or a
            bomb. No more than that is read.
        TruncatedBody: if it cannot be unpacked.
    """
    if int(_read_digits(response.headers.get("content-length"))) > most_bytes:
        raise InvalidBody(f"a reply of more than {_format_megabytes(most_bytes)}")
    unpack = _make_unpacker(response.headers.get("content-encoding", "").strip().lower())
    parts: list[bytes] = []
    sent = size = 0
    async for chunk in response.aiter_raw():
        sent += len(chunk)
        for part in unpack(chunk):
            size += len(part)
            if size > most_bytes:
                raise InvalidBody(f"a reply of more than {_format_megabytes(most_bytes)}")
            if size > max(_UNSUSPICIOUS, _MOST_RATIO * sent):
                raise InvalidBody(f"a reply that unpacks to over {_MOST_RATIO} times its length")
            parts.append(part)
    return b"".join(parts)


def _make_unpacker(encoding: str) -> Callable[[bytes], Iterator[bytes]]:
    """Make a function that decompresses chunk after chunk, in pieces, so that a bomb is noticed
    before memory is full."""
    if encoding in ("", "identity"):
        return lambda chunk: iter((chunk,))
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise InvalidBody(
            f"a reply packed as {make_plain(encoding)[:40]!r}, which was not asked for"
        )
    state: list[Any] = []

    def unpack(chunk: bytes) -> Iterator[bytes]:
        if not state:
            state.append(zlib.decompressobj(_choose_window(encoding, chunk)))
        try:
            while chunk and not state[0].eof:
                yield state[0].decompress(chunk, _PIECE)
                chunk = state[0].unconsumed_tail
        except zlib.error as fault:
            raise TruncatedBody(f"a reply whose {encoding} is damaged ({fault})") from None

    return unpack


def _choose_window(encoding: str, chunk: bytes) -> int:
    """Return zlib's window number for a format; deflate comes with zlib's header or, against the
    rule, bare."""
    if encoding != "deflate":
        return 16 + zlib.MAX_WBITS
    return zlib.MAX_WBITS if chunk[0] & 0x0F == 8 else -zlib.MAX_WBITS


def decode_body(body: bytes) -> str:
    """Decode a body in any of Unicode's encodings."""
    return body.decode(json.detect_encoding(body), "replace")


def parse_json(text: str) -> Any:
    """Parse a body as JSON.

    Raises:
        InvalidBody: if it is no JSON, or JSON beyond any use (nested too deep, endless digits).
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise InvalidBody("JSON that is nested too deep") from None
    except ValueError:
        raise InvalidBody("no JSON") from None


def make_plain(text: str) -> str:
    """Put a text on one line, without escapes that a terminal would obey."""
    bare = _UNSEEN.sub("", _ESCAPES.sub("", text.encode(errors="replace").decode()))
    return " ".join(bare.split())


def shorten_text(text: str, longest: int = _LONGEST) -> str:
    """Return the beginning of a text, plain. Of a long text no more is processed than is needed."""
    text_beginning = make_plain(text[: 20 * longest])
    return (
        text_beginning if len(text_beginning) <= longest else text_beginning[: longest - 3] + "..."
    )


def _read_digits(value: str | None) -> str:
    return value if value and value.isascii() and value.isdigit() and len(value) < 20 else "0"


def _format_megabytes(size: int) -> str:
    return f"{size >> 20} MiB"
