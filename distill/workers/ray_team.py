"""One job on a Ray cluster: batches are given to workers that have opened its work, and what is
lost with a worker is given to another."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from distill.errors import UserError, quote_fault
from distill.runtime.progress import TokenCounts
from distill.workers.batch_queue import BatchQueue
from distill.workers.local import LOCAL
from distill.workers.protocol import BatchResult, Team, WorkerJob
from distill.workers.ray_actor import WorkDone, WorkFailed
from distill.workers.ray_pool import RayPool, WorkerHandle, read_clock

T = TypeVar("T")
R = TypeVar("R")
_IN_FLIGHT = 2
"""Batches of a worker: one that it works on, and the next."""
_SECONDS_A_LOOK = 1.0
_SECONDS_BETWEEN_COUNTS = 10.0
_SECONDS_TO_FETCH = 60.0
_SECONDS_AFTER_FAILED_STARTS = 60.0
_SECONDS_TO_COME = 60.0
"""So long a worker that was asked for is waited for with a batch that has failed on all others."""
_MOST_WORDS = 600
_NODE_DIED = "its node has died"
"""Ray's words for a worker that had its place on a lost node: it says nothing of how it starts."""
_log = logging.getLogger(__name__)


class RayTeam(Generic[T, R]):
    """The workers of one job (see `Team`). Work goes only to workers that have answered that they
    are ready: one that has no place yet, or none any more, holds nothing back."""

    def __init__(self, pool: RayPool, job: WorkerJob[T, R]) -> None:
        self._pool = pool
        self._ray = pool.ray
        self._job = job
        self._demand = pool.find_demand(job.needs)
        self._queue = BatchQueue(len(job.batches), job.group)
        self._opens = self._ray.put(job.opens)
        self._calls: dict[Any, tuple[WorkerHandle, int | None]] = {}
        self._failures = defaultdict[int, list[WorkerHandle]](list)
        self._failed_starts: list[str] = []
        self._last_failed_start = 0.0
        self._devices = set[str]()
        self._nodes, self._processes = set[str](), set[Any]()
        self._tokens = Counter[str]()
        self._lost = self._retried = 0
        self._places, self._counted = 1, -_SECONDS_BETWEEN_COUNTS
        self._alone_since = read_clock()
        for handle in pool.handles:
            if handle.demand == self._demand:
                self._join(handle)

    @property
    def tokens(self) -> TokenCounts | None:
        """The counters of all workers' engines."""
        return self._count_tokens if self._job.needs.kind == "llm" else None

    @property
    def note(self) -> str:
        """How many workers there are, and what went wrong."""
        ready = sum(handle.ready for handle in self._members)
        parts = [f"{ready} worker{'s' if ready != 1 else ''}"]
        parts += [f"{self._lost} lost"] if self._lost else []
        parts += [f"{self._retried} tried again"] if self._retried else []
        return ", ".join(parts)

    def iterate_results(self, stopping: Callable[[], bool]) -> Iterator[BatchResult[R]]:
        """Yield results as they come; see `Team`.

        Raises:
            UserError: as a worker raised it; if a batch fails too often; if there is no worker for
                too long; if a node is not the same as the others.
        """
        while len(self._queue) or self._in_flight:
            if stopping() and not self._in_flight:
                return
            if not stopping():
                self._ask_for_workers()
                self._hand_out()
            for call in self._wait():
                result = self._receive(call) if call in self._calls else None
                if result is not None:
                    yield result
            self._check_patience()

    def describe(self) -> dict[str, Any]:
        """Describe who did the work, for the stage's manifest."""
        return {
            "on": "ray",
            "nodes": sorted(self._nodes),
            "devices": sorted(self._devices),
            "workers": len(self._processes),
            "workers_lost": self._lost,
            "batches_tried_again": self._retried,
        }

    def end(self) -> None:
        """Let the workers go that still work; the others are kept for the next stage."""
        for handle in self._members:
            if handle.batches:
                self._pool.dismiss(handle)
            elif handle.ready:
                handle.actor.close.remote()
            handle.ready, handle.last = False, None

    @property
    def _members(self) -> list[WorkerHandle]:
        return [handle for handle in self._pool.handles if handle.demand == self._demand]

    @property
    def _in_flight(self) -> int:
        return sum(len(handle.batches) for handle in self._members)

    @property
    def _wanted(self) -> int:
        return min(self._places, len(self._queue) + self._in_flight)

    def _count_tokens(self) -> Mapping[str, int]:
        return dict(self._tokens)

    # --- workers ------------------------------------------------------------------------------

    def _wait(self) -> list[Any]:
        """Wait for answers. All that are there, in the order of the calls: of a worker that was
        lost, what it had answered before comes first."""
        calls = list(self._calls)
        if not self._ray.wait(calls, num_returns=1, timeout=_SECONDS_A_LOOK)[0]:
            return []
        answered = set(self._ray.wait(calls, num_returns=len(calls), timeout=0)[0])
        return [call for call in calls if call in answered]

    def _ask_for_workers(self) -> None:
        """Ask for as many workers as the cluster has places for, and no more than there is work."""
        if read_clock() - self._counted > _SECONDS_BETWEEN_COUNTS:
            self._counted = read_clock()
            self._places = self._pool.count_places(self._job.needs, self._demand)
            self._pool.make_room(self._demand, self._wanted)
        if len(self._failed_starts) >= self._pool.settings.tries and self._is_cooling():
            return
        for _ in range(self._wanted - len(self._members)):
            self._join(self._pool.ask(self._demand))

    def _is_cooling(self) -> bool:
        """Return whether a worker has failed to start just now, while others work."""
        return read_clock() - self._last_failed_start < _SECONDS_AFTER_FAILED_STARTS

    def _join(self, handle: WorkerHandle) -> None:
        """Wait for a worker's proof, or have it open the work if it has given that."""
        if handle.identity is None:
            self._calls[handle.proving] = handle, None
        else:
            kind, cpus = self._job.needs.kind, self._demand.cpus
            call = handle.actor.open.remote([self._opens], kind, cpus)
            self._calls[call] = handle, None

    def _hand_out(self) -> None:
        """Give each ready worker the batches that it may have: first one to each."""
        for most in range(1, _IN_FLIGHT + 1):
            for handle in self._members:
                if not handle.ready or len(handle.batches) >= most:
                    continue
                number = self._queue.take(handle.last, self._list_shunned(handle))
                if number is None:
                    continue
                handle.last = number
                handle.batches.append(number)
                self._calls[handle.actor.do_batch.remote(self._job.batches[number])] = (
                    handle,
                    number,
                )

    def _list_shunned(self, handle: WorkerHandle) -> list[int]:
        """List the batches that have failed on a worker, and that another one can try."""
        return [
            number
            for number, failed_on in self._failures.items()
            if handle in failed_on and any(map(self._is_coming, {*self._members} - {*failed_on}))
        ]

    def _is_coming(self, handle: WorkerHandle) -> bool:
        """Return whether a worker is there or may be soon. One that was asked for long ago has no
        place, and may never have one."""
        return handle.identity is not None or read_clock() - handle.asked < _SECONDS_TO_COME

    def _receive(self, call: Any) -> BatchResult[R] | None:
        """Take what a worker answered; the answers of a lost one are gone with it."""
        handle, number = self._calls.pop(call)
        try:
            answer = self._ray.get(call, timeout=_SECONDS_TO_FETCH)
        except self._ray.exceptions.RayError as fault:
            self._lose(handle, quote_fault(fault))
            return None
        if isinstance(answer, WorkFailed):
            self._take_failure(handle, number, answer)
        elif number is not None and isinstance(answer, WorkDone):
            handle.batches.remove(number)
            self._nodes.add(handle.node)
            self._processes.add(handle.identity)
            self._tokens.update(answer.tokens)
            return BatchResult(number, answer.values, answer.seconds)
        elif handle.identity is None:
            handle.identity = answer
            self._join(handle)
        else:
            self._check_device(handle, answer)
            handle.ready = True
            self._failed_starts = []
        return None

    def _check_device(self, handle: WorkerHandle, device: str) -> None:
        if not device:
            return
        self._devices.add(device)
        if len(self._devices) > 1 and not self._pool.settings.mixed_devices:
            raise UserError(
                f"stage {self._job.name}, node {handle.node}",
                f"computes on {device}, and other workers on "
                f"{', '.join(sorted(self._devices - {device}))}: their last digits differ",
                "use nodes of one kind, or set execution.mixed_devices: true",
            )

    # --- what goes wrong ----------------------------------------------------------------------

    def _take_failure(self, handle: WorkerHandle, number: int | None, failed: WorkFailed) -> None:
        if failed.refusal is not None:
            raise failed.refusal
        if failed.dead or number is None:  # a worker that cannot open the work is no use
            self._lose(handle, failed.words)
            return
        handle.batches.remove(number)
        _log.warning(
            "stage %s, %s failed on node %s and is tried again: %s",
            self._job.name,
            self._name_batch(number),
            handle.node,
            failed.words,
        )
        self._note_failure(number, handle, failed.words)
        self._queue.put_back([number])

    def _lose(self, handle: WorkerHandle, words: str) -> None:
        """Put what a worker had in front of the queue. The loss counts for the batch that it worked
        on, not for the one that waited."""
        self._calls = {call: of for call, of in self._calls.items() if of[0] is not handle}
        if handle in self._pool.handles:
            self._pool.dismiss(handle)
        self._lost += 1
        batches, handle.batches = handle.batches, []
        _log.warning("a worker on %s was lost: %s", handle.node, words)
        if batches:
            self._note_failure(batches[0], handle, words)
        elif not handle.ready and _NODE_DIED not in words:
            self._note_failed_start(words)
        handle.ready = False
        self._queue.put_back(batches)

    def _note_failure(self, number: int, handle: WorkerHandle, words: str) -> None:
        """Count a failure of a batch.

        Raises:
            UserError: if it has failed too often.
        """
        self._retried += 1
        failed_on = self._failures[number]
        failed_on.append(handle)
        if len(failed_on) >= self._pool.settings.tries:
            workers = len({*failed_on})
            raise UserError(
                f"stage {self._job.name}, {self._name_batch(number)}",
                f"failed {len(failed_on)} times, on {workers} worker{'s' if workers > 1 else ''}; "
                f"the last time: {words[-_MOST_WORDS:]}",
                self._job.remedy,
            )

    def _note_failed_start(self, words: str) -> None:
        self._failed_starts.append(words)
        self._last_failed_start = read_clock()
        ready = any(handle.ready for handle in self._members)
        if not ready and len(self._failed_starts) >= self._pool.settings.tries:
            raise UserError(
                f"stage {self._job.name}",
                f"no worker could begin: {len(self._failed_starts)} ended before they were ready; "
                f"the last one: {words[-_MOST_WORDS:]}",
                "fix what it says; what is done is kept, and the same command continues",
            )

    def _check_patience(self) -> None:
        """Refuse to wait for ever.

        Raises:
            UserError: if no worker had a place for too long.
        """
        if any(handle.identity is not None for handle in self._members):
            self._alone_since = read_clock()
            return
        waited = read_clock() - self._alone_since
        if waited > self._pool.settings.patience:
            raise UserError(
                f"stage {self._job.name}",
                f"had no worker for {waited:.0f} s: each asks for {self._demand.describe()}, and "
                f"the cluster has {self._pool.describe_cluster()}",
                "add nodes, lower execution.cpus or llm.tensor_parallel, set the model's device to "
                "cpu, or raise execution.patience; the same command continues",
            )

    def _name_batch(self, number: int) -> str:
        if self._job.name_batch is not None:
            return f"batch {number} ({self._job.name_batch(number)})"
        items: Sequence[Any] = self._job.batches[number]
        text = repr(items[0]) if len(items) == 1 else f"{len(items)} items from {items[0]!r}"
        return f"batch {number} ({text[:120]})"


class RayWorkers(RayPool):
    """The workers of a Ray cluster as the stages of a run use them (see `Workers`)."""

    @contextmanager
    def begin(self, job: WorkerJob[T, R]) -> Iterator[Team[R]]:
        """Begin a job on the cluster; one that must be done here is done here."""
        if job.needs.here or not job.batches:
            with LOCAL.begin(job) as team:
                yield team
            return
        if self.settings.copies is not None:
            self.copy_for_workers()
        cluster_team = RayTeam(self, job)
        try:
            yield cluster_team
        finally:
            cluster_team.end()
