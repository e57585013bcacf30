"""The file of one result that was computed in a share: a line of figures and the result, with a
checksum over both."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from distill.files.atomic import commit_bytes
from distill.files.checksums import digest_bytes

_DIGITS = 64


class ShareFile(NamedTuple):
    """A file of results that a share has written: `seconds`, `tokens` and `device` of it, and the
    result."""

    head: dict[str, Any]
    content: bytes


def write_result(path: Path, head: dict[str, Any], content: bytes) -> None:
    """Write a result; it is there whole or not at all."""
    body = json.dumps(head).encode() + b"\n" + content
    commit_bytes(path, digest_bytes(body).encode() + b"\n" + body)


def read_result(path: Path) -> ShareFile | None:
    """Read a result; None if it is missing or damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    body = data[_DIGITS + 1 :]
    if data[:_DIGITS] != digest_bytes(body).encode():
        return None
    head, _, content = body.partition(b"\n")
    return ShareFile(json.loads(head), content)
