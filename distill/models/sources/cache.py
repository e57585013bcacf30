"""The cache of models that were fetched or converted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from distill.errors import UserError
from distill.files.atomic import explain_os_error
from distill.files.read import parse_path


def get_cache_folder() -> Path:
    """Return the folder of fetched models: $DISTILL_CACHE, else $XDG_CACHE_HOME/distill, else
    ~/.cache/distill."""
    if own := os.environ.get("DISTILL_CACHE"):
        return parse_path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "distill"


@contextmanager
def lock_cache(name: str) -> Iterator[None]:
    """Hold a lock in the cache while a model is put there.

    Raises:
        UserError: if the cache cannot be written, in here too. What lies there can be read all the
            same: look before this is called.
    """
    locks = get_cache_folder() / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{name}.lock"):
            yield
    except OSError as fault:
        what = explain_os_error(fault, get_cache_folder())
        raise UserError(
            what.where,
            f"is where models are kept, and {what.what}",
            "set DISTILL_CACHE to a folder that can be written, on a disk with room",
        ) from fault
