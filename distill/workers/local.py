"""All work in this process: one worker, which is this process."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from distill.runtime.progress import TokenCounts
from distill.workers.protocol import BatchResult, OpenWork, Team, WorkerJob

T = TypeVar("T")
R = TypeVar("R")


class LocalWorkers:
    """Does all work in this process, in order."""

    local = True
    hold_models = False
    reads_only = False

    def __reduce__(self) -> str:
        return "LOCAL"  # the one of the process that it arrives in

    @contextmanager
    def begin(self, job: WorkerJob[T, R]) -> Iterator[Team[R]]:
        """Open the work of a job that has any."""
        if not job.batches:
            yield _LocalTeam(job, OpenWork(_refuse))
            return
        with job.opens() as opened:
            yield _LocalTeam(job, opened)

    def dismiss_all(self) -> None:
        """Do nothing: this process' models are let go by who opened them."""

    def close(self) -> None:
        """Do nothing: there is nobody to let go."""


LOCAL = LocalWorkers()


class _LocalTeam(Generic[T, R]):
    note = ""

    def __init__(self, job: WorkerJob[T, R], opened: OpenWork[T, R]) -> None:
        self._job = job
        self._opened = opened

    @property
    def tokens(self) -> TokenCounts | None:
        return self._opened.tokens

    def iterate_results(self, stopping: Callable[[], bool]) -> Iterator[BatchResult[R]]:
        for number in range(len(self._job.batches)):
            if stopping():
                return
            batch = self._job.batches[number]
            began = time.perf_counter()
            values = [*self._opened.work(batch)]
            yield BatchResult(number, values, time.perf_counter() - began)

    def describe(self) -> dict[str, Any]:
        return {}


def _refuse(batch: object) -> Any:
    raise AssertionError("a job without batches has no work")
