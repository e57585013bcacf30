"""The batches that are left, given out so that those of one group go to one worker, and the order
of their results."""

from collections import deque
from collections.abc import Callable, Container, Hashable, Iterable, Iterator
from typing import Protocol, TypeVar

from distill.workers.protocol import BatchResult

R = TypeVar("R")


class BatchQueue:
    """Numbers of batches.

    Args:
        group: of a batch's number; batches of one group follow each other.
    """

    def __init__(self, count: int, group: Callable[[int], Hashable]) -> None:
        self._group = group
        self._again: deque[int] = deque()
        self._groups: dict[Hashable, deque[int]] = {}
        for number in range(count):
            self._groups.setdefault(group(number), deque()).append(number)
        self._owned: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._again) + sum(map(len, self._groups.values()))

    def take(self, last: int | None, shunned: Container[int] = ()) -> int | None:
        """Take the next batch for a worker: first what was lost or has failed, then of the group of
        its `last` batch, then of a group that no worker has begun, then the last of the longest
        group. None where nothing is left for it.

        Args:
            shunned: what it shall not have of that which has failed.
        """
        for number in self._again:
            if number not in shunned:
                self._again.remove(number)
                return number
        mine = None if last is None else self._group(last)
        if last is not None and mine in self._groups:
            return self._pop(mine, first=True)
        for group in self._groups:
            if group not in self._owned:
                self._owned.add(group)
                return self._pop(group, first=True)
        if not self._groups:
            return None
        # One group alone is no reason to begin at its end: shards come as they stand.
        longest = max(self._groups, key=lambda group: len(self._groups[group]))
        return self._pop(longest, first=len(self._groups) == 1)

    def put_back(self, numbers: list[int]) -> None:
        """Put batches that were lost or have failed in front."""
        self._again.extendleft(reversed(numbers))

    def _pop(self, group: Hashable, first: bool) -> int:
        members = self._groups[group]
        number = members.popleft() if first else members.pop()
        if not members:
            del self._groups[group]
        return number


class WaitingResults(Protocol[R]):
    """Results that wait for those before them, by number; a dict is one."""

    def __contains__(self, number: int, /) -> bool: ...

    def __setitem__(self, number: int, result: BatchResult[R], /) -> None: ...

    def pop(self, number: int, /) -> BatchResult[R]:
        """Take a result out."""
        ...


def sort_results(
    results: Iterable[BatchResult[R]], early: WaitingResults[R] | None = None
) -> Iterator[BatchResult[R]]:
    """Hold results that come early back, until all before them have come.

    Args:
        early: where they wait; None: in memory.
    """
    early = {} if early is None else early
    number = 0
    for result in results:
        if result.number != number:
            early[result.number] = result
            continue
        yield result
        number += 1
        while number in early:
            yield early.pop(number)
            number += 1
