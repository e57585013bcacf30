"""Memory that is free and not given back, and Python's cyclic garbage collector beside large
libraries, whose hundreds of thousands of objects are not garbage."""

import atexit
import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Import libraries without collections in between, which go through all that was imported
    before: a sixth of the CPU time of importing sentence-transformers."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def skip_collection_at_exit() -> None:
    """End the process without the interpreter's last collections, which take more than a second
    where torch and sentence-transformers were imported."""
    atexit.register(gc.freeze)


def return_freed_memory() -> None:
    """Return to the system the memory that was freed, where the C library is glibc, which keeps it;
    elsewhere nothing is done."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    trim = getattr(library, "malloc_trim", None)
    if trim is not None:
        trim(0)
