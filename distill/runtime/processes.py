"""Synchronise the processes that train one student, as `accelerate launch` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

PATIENCE = timedelta(days=7)
"""How long the others wait for what the first one makes: a corpus may take days to relabel, and
torch's own limit is half an hour, or ten minutes between GPUs."""


def count_processes() -> int:
    """Return the number of processes of the launcher (torchrun, accelerate); 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Return whether this process is the first, which alone writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def is_sharded() -> bool:
    """Return whether accelerate spreads the model over the processes (FSDP)."""
    return (
        count_processes() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    )


def connect(device: str | None) -> None:
    """Connect the processes with each other, before the first of them waits."""
    if count_processes() > 1:
        from accelerate import PartialState

        from distill.runtime.devices import choose_device

        PartialState(cpu=(device or choose_device()) == "cpu", timeout=PATIENCE)


@contextmanager
def let_main_go_first() -> Iterator[None]:
    """Let the first process do the work; the others enter after it and find the result."""
    if count_processes() == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield


def is_true_anywhere(flag: bool) -> bool:
    """Return whether `flag` is true in any of the processes: each of them must call this."""
    if count_processes() == 1:
        return flag
    import torch
    from accelerate import PartialState

    most = torch.tensor(int(flag), device=PartialState().device)
    torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    return bool(most)


def wait() -> None:
    """Wait until every process is here."""
    if count_processes() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()
