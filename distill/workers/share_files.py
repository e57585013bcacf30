"""The files of shares: the locks that keep the process which writes a run apart from those that
compute shares of it, and the results, each a line of figures and the result, with a checksum over
both."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from distill.errors import UserError
from distill.files.atomic import commit_bytes
from distill.files.checksums import digest_bytes

_DIGITS = 64
_PREFIX = ".share-"
_SECONDS = 10.0
"""So long other shares may look whether a writer is there."""


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


@contextmanager
def lock_share(folder: Path, number: int, count: int) -> Iterator[None]:
    """Lock one share of a run.

    Raises:
        UserError: if the share is being computed, or the run is being written.
    """
    if not (folder / ".lock").exists():
        raise UserError(
            str(folder), "is not a run's folder", "begin the run by `distill run --finish`"
        )
    lock = FileLock(folder / f"{_PREFIX}{number}-of-{count}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{folder}, share {number}/{count}",
            "is being computed by another process",
            "give each process a number of its own",
        ) from None
    try:
        FileLock(folder / ".lock").acquire(timeout=_SECONDS).lock.release()
    except Timeout:
        lock.release()
        raise UserError(
            str(folder),
            "another process is writing this run",
            "compute shares when it has ended",
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_no_shares(folder: Path) -> None:
    """Refuse to write a run of which shares are being computed.

    Raises:
        UserError: naming the share.
    """
    for path in folder.glob(f"{_PREFIX}*.lock"):
        try:
            FileLock(path).acquire(timeout=0).lock.release()
        except Timeout:
            raise UserError(
                str(folder),
                f"share {path.stem.removeprefix(_PREFIX)} is being computed",
                "wait for it to end",
            ) from None
