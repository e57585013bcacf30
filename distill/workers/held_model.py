"""The models that a worker keeps from stage to stage, by their settings.

An LLM is alone in memory. Encoders and rankers lie beside each other: those that the present stage
uses, and those of earlier stages while half of the GPU's memory is free.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar


class Closeable(Protocol):
    """A model or engine that can be closed."""

    def close(self) -> None:
        """Free what it holds."""
        ...


C = TypeVar("C", bound=Closeable)
_kept: dict[str, Closeable] = {}
_used = set[str]()
"""Keys of what the present stage has asked for."""


def begin_stage() -> None:
    """Note that another stage begins, which uses no model yet."""
    _used.clear()


def keep_alone(key: str, make: Callable[[], C]) -> C:
    """Return what this process keeps under a key; made where it is not there, after all else is
    closed."""
    if key not in _kept:
        release()
    return _keep(key, make)


def keep_beside(key: str, make: Callable[[], C]) -> C:
    """Return what this process keeps under a key; made where it is not there, after what the
    present stage does not use is closed, unless there is room for both. If there turns out to be
    none, it is closed then."""
    if key not in _kept and _kept.keys() - _used and not _has_room():
        _close_unused()
    try:
        return _keep(key, make)
    except Exception as fault:
        if not (_kept.keys() - _used and _has_run_out(fault)):
            raise
    _close_unused()
    return _keep(key, make)


def _close_unused() -> None:
    for unused in _kept.keys() - _used:
        _kept.pop(unused).close()


def release() -> None:
    """Close what this process keeps, to make room for another model."""
    while _kept:
        _kept.popitem()[1].close()


def _keep(key: str, make: Callable[[], C]) -> C:
    if key not in _kept:
        _kept[key] = make()
    _used.add(key)
    return _kept[key]  # type: ignore[return-value]


def _has_run_out(fault: Exception) -> bool:
    from distill.runtime.out_of_memory import is_out_of_memory  # imports torch

    return is_out_of_memory(fault)


def _has_room() -> bool:
    from distill.runtime.devices import is_half_of_gpu_free  # imports torch

    return is_half_of_gpu_free()
