"""Locks that keep the process which writes a run apart from those that compute shares of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from distill.errors import UserError

_PREFIX = ".share-"
_SECONDS = 10.0
"""So long other shares may look whether a writer is there."""


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
