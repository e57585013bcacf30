"""Several processes that train one student, as `accelerate launch` starts them. The first one makes
and writes what the others then find; in a single process nothing here does anything."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

_PATIENCE = timedelta(days=7)
"""How long the others wait for what the first one makes: a corpus may take days to relabel, and
torch's own limit is half an hour, or ten minutes between GPUs."""


def count() -> int:
    """Return the number of processes of the launcher (torchrun, accelerate); 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the first, which alone writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def sharded() -> bool:
    """Whether accelerate was told to spread the model over the processes (FSDP)."""
    return count() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def connect(device: str | None) -> None:
    """Let the processes find each other: before the first of them waits."""
    if count() > 1:
        from accelerate import PartialState

        from distill.runtime.devices import best_device

        PartialState(cpu=(device or best_device()) == "cpu", timeout=_PATIENCE)


@contextmanager
def main_first() -> Iterator[None]:
    """The first process does it, the others do it after it, and so find it done."""
    if count() == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield


def any_of_all(flag: bool) -> bool:
    """Whether it is so in any of the processes: each of them must call this."""
    if count() == 1:
        return flag
    import torch
    from accelerate import PartialState

    most = torch.tensor(int(flag), device=PartialState().device)
    torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    return bool(most)


def wait() -> None:
    """Until every process is here."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()
