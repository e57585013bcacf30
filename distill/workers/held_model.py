"""The one model that a worker keeps from stage to stage, by its settings."""

from collections.abc import Callable
from typing import Protocol, TypeVar


class Closeable(Protocol):
    """A model or engine that can be closed."""

    def close(self) -> None:
        """Free what it holds."""
        ...


C = TypeVar("C", bound=Closeable)
_kept: dict[str, Closeable] = {}


def keep(key: str, make: Callable[[], C]) -> C:
    """Return what this process keeps under a key; made where it keeps something else, which is
    closed."""
    if key not in _kept:
        release()
        _kept[key] = make()
    return _kept[key]  # type: ignore[return-value]


def release() -> None:
    """Close what this process keeps, to make room for another model."""
    while _kept:
        _kept.popitem()[1].close()
