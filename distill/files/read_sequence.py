"""Sequences whose items are read when they are asked for."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

T = TypeVar("T")


class ReadSequence(Sequence[T]):
    """A sequence of which no item is held: each is read when it is asked for, those of a slice
    together. A class of this kind has `__len__` and `read`."""

    @abstractmethod
    def read(self, numbers: Sequence[int]) -> list[T]:
        """Read the items with these numbers, which are there, in their order."""

    @overload
    def __getitem__(self, number: int) -> T: ...

    @overload
    def __getitem__(self, number: slice) -> list[T]: ...

    def __getitem__(self, number: int | slice) -> T | list[T]:
        if isinstance(number, slice):
            return self.read(range(*number.indices(len(self))))
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        return self.read([number % len(self)])[0]
