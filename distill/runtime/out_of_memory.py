"""Compute a batch in halves if memory does not suffice; warn once, with the key that makes batches
smaller. Say in words that a model does not fit at all."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch

from distill.errors import EngineFailure, UserError
from distill.runtime.devices import free_memory

_SAYINGS = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
"""Of torch's errors that are no OutOfMemoryError: those of a CPU, of libraries beneath CUDA."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


def is_out_of_memory(fault: BaseException) -> bool:
    """Return whether an exception says that memory, of the CPU or a GPU, did not suffice."""
    message = str(fault).lower()
    return isinstance(fault, torch.OutOfMemoryError) or (
        isinstance(fault, RuntimeError) and any(saying in message for saying in _SAYINGS)
    )


def halve_on_out_of_memory(
    work: Callable[[Sequence[T]], None], items: Sequence[T], where: str, key: str
) -> None:
    """Do `work` for all items at once, or for each half of them where memory does not suffice.

    Args:
        where: the model, in words.
        key: the setting that makes batches smaller.

    Raises:
        UserError: if memory does not suffice for a single item.
    """
    if not has_run_out(lambda: work(items)):
        return
    if len(items) == 1:
        raise explain_too_large(where, key)
    warn_of_halving(where, key)
    middle = (len(items) + 1) // 2
    halve_on_out_of_memory(work, items[:middle], where, key)
    halve_on_out_of_memory(work, items[middle:], where, key)


def has_run_out(work: Callable[[], None]) -> bool:
    """Do `work`, and return whether it ran out of memory; unused memory is then freed."""
    try:
        work()
        return False
    except RuntimeError as fault:
        if not is_out_of_memory(fault):
            raise
    free_memory()  # here, where the fault holds no tensors any more
    return True


@lru_cache(maxsize=256)
def warn_of_halving(where: str, key: str) -> None:
    """Warn once for each model that batches are halved."""
    _log.warning(
        "%s: memory does not suffice for a whole batch, which is halved; a smaller %s saves the "
        "tries",
        where,
        key,
    )


def explain_too_large(where: str, key: str) -> UserError:
    """Make the error for a batch of one text that does not fit into memory."""
    return UserError(
        where,
        "does not fit into memory with a single text",
        f"lower {key}, or the number of words or tokens that a text is cut to; or choose a "
        "smaller model, a dtype of two bytes, or a larger device",
    )


@contextmanager
def name_too_large(where: str) -> Iterator[None]:
    """Note on a fault of memory while a model is loaded, which is raised as it is, whose it is.

    Args:
        where: the model, in words.
    """
    try:
        yield
    except RuntimeError as fault:
        if is_out_of_memory(fault):
            fault.add_note(where)
        raise


def explain_memory(fault: BaseException) -> EngineFailure | None:
    """Explain a fault of memory that nothing smaller helps against; None for any other fault."""
    if not is_out_of_memory(fault):
        return None
    said = " ".join(str(fault).split())[:300]
    where = next(iter(getattr(fault, "__notes__", ())), "a computation")
    return EngineFailure(
        where,
        f"does not fit into memory ({said})",
        "end what else holds that memory (nvidia-smi shows a GPU's), or name in the recipe another "
        "device, a dtype of two bytes or a smaller model",
    )
