"""Memory that was freed goes back to the system."""

import ctypes
import sys
from pathlib import Path

import pytest

from distill.runtime.garbage import return_freed_memory

BLOCKS, SIZE = 2000, 100_000


def measure_mib() -> float:
    """The memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone keeps freed memory")
def test_freed_blocks_below_one_in_use_are_given_back():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(SIZE) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    above = libc.malloc(SIZE)
    for block in blocks:
        libc.free(block)
    before = measure_mib()
    return_freed_memory()
    assert measure_mib() < before - 0.8 * BLOCKS * SIZE / 2**20
    libc.free(above)
