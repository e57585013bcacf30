"""Try work of unknown size in a process with little time and memory.

A few letters of a template, such as nested loops or a text doubled many times, would take hours or
all of a machine's memory, in a single step of the interpreter that nothing can interrupt. So it is
done once where the system itself sets the limits, before it is done here.
"""

import gc
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_SECONDS = 2
"""Of computing: a busy machine changes nothing."""
_LATEST = 30.0
"""Seconds on the clock."""
_MEMORY = 512 << 20
"""Bytes more than this process has."""
_WELL, _MEMORY_SPENT = b"w", b"m"


def find_excess(work: Callable[[], object]) -> str | None:
    """Say what `work` takes too much of, in words; None if it stays within the limits, or fails by
    an exception of its own, which it will raise again when it is done for real.

    It is done in a fork of this process, so whatever it changes is lost.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _try_and_end(work, writing)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], _LATEST)
        verdict = os.read(reading, 1) if ready else b""
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if verdict == _WELL:
        return None
    if verdict == _MEMORY_SPENT:
        return f"takes more than {_MEMORY >> 20} MiB of memory"
    return f"takes more than {_SECONDS} seconds"


def _try_and_end(work: Callable[[], object], writing: int) -> None:
    """Try the work in the fork: never returns, and runs none of this process's exit handlers."""
    verdict = _WELL
    try:
        gc.disable()  # objects of the parent are not to be finalized here
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        _lower_limit(resource.RLIMIT_CORE, 0)
        _lower_limit(resource.RLIMIT_CPU, _SECONDS)
        size = _measure_address_space()
        if size:
            _lower_limit(resource.RLIMIT_AS, size + _MEMORY)
        work()
    except MemoryError:
        verdict = _MEMORY_SPENT
    finally:  # whatever else was raised is raised again in the parent
        os.write(writing, verdict)
        os._exit(0)


def _lower_limit(kind: int, most: int) -> None:
    """Lower a limit, soft and hard; a lower one stays."""
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _measure_address_space() -> int:
    """Return the bytes of this process's address space; 0 if the system does not say (not
    Linux)."""
    sizes = Path("/proc/self/statm")
    if not sizes.exists():
        return 0
    return int(sizes.read_text().split()[0]) * resource.getpagesize()
