"""Workers as on other machines, in this process: they are sent all that they open, and their
results come in the reverse order."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distill.workers.local import LOCAL
from distill.workers.protocol import BatchResult, Team, WorkerJob


class ReversedWorkers:
    """`sent` names the jobs that others would do."""

    local = hold_models = reads_only = False

    def __init__(self) -> None:
        self.sent: list[str] = []

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _get_local, ()

    @contextmanager
    def begin(self, job: WorkerJob[Any, Any]) -> Iterator[Team[Any]]:
        if job.needs.here or not job.batches:
            with LOCAL.begin(job) as team:
                yield team
            return
        self.sent.append(job.name)
        yield _ReversedTeam(job)

    def dismiss_all(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _ReversedTeam:
    note = ""
    tokens = None

    def __init__(self, job: WorkerJob[Any, Any]) -> None:
        self._job = job

    def iterate_results(self, stopping: Callable[[], bool]) -> Iterator[BatchResult[Any]]:
        with _send(self._job.opens)() as opened:
            for number in reversed(range(len(self._job.batches))):
                values = [*opened.work(self._job.batches[number])]
                yield BatchResult(number, _send(values), 1.0)

    def describe(self) -> dict[str, Any]:
        return {"on": "others"}


def _get_local() -> object:
    return LOCAL


def _send(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 (the test's own)
