"""The worker process of a Ray cluster: opens work, does batch after batch of it, and answers with
results or with what went wrong, never with an exception of its own."""

import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from distill.errors import EngineFailure, UserError
from distill.object_store.objects import StoreFault
from distill.workers.device import describe_device
from distill.workers.held_model import begin_stage, release
from distill.workers.proof import ProofRequest, WorkerIdentity, prove
from distill.workers.protocol import Opens, OpenWork, WorkerKind, subtract_counts


class WorkDone(NamedTuple):
    """A batch's results, and the engine's tokens that they took."""

    values: Sequence[Any]
    seconds: float
    tokens: Mapping[str, int]


class WorkFailed(NamedTuple):
    """Why there is no result.

    Args:
        refusal: bad input, which no other worker would take either.
        dead: the worker's engine cannot compute any more.
    """

    words: str
    refusal: UserError | None = None
    dead: bool = False


class RayWorker:
    """The actor. The driver calls one method at a time."""

    def __init__(self) -> None:
        from distill.runtime.progress import show_progress

        show_progress(quiet=True)
        self._stack = ExitStack()
        self._opened: OpenWork[Any, Any] | None = None
        self._kind: WorkerKind = "cpu"

    def prove(self, request: ProofRequest) -> WorkerIdentity | WorkFailed:
        """Prove that this worker is the same as the driver."""
        import ray

        try:
            return prove(request, ray.util.get_node_ip_address())
        except UserError as refusal:
            return WorkFailed(str(refusal), refusal)

    def open(self, sent: Sequence[Any], kind: WorkerKind, cpus: int) -> str | WorkFailed:
        """Open work in the place of what was open before. Returns the device that computes, empty
        where no model does.

        Args:
            sent: the reference of the work (`Opens`), in a list. Ray would unpickle a bare one
                before this method runs, and models that are loaded by that would be loaded before
                there is memory for them.
            cpus: this worker's own, which are the threads of its model.
        """
        try:
            self.close()
            if kind != "cpu" and kind != self._kind:
                release()  # the memory of another kind of model
                self._kind = kind
            begin_stage()
            if kind != "cpu":
                _use_threads(cpus)
            self._opened = self._stack.enter_context(_fetch(sent[0])())
            return describe_device() if kind != "cpu" else ""
        except Exception as fault:  # noqa: BLE001 (told to the driver)
            return _explain(fault)

    def do_batch(self, batch: Sequence[Any]) -> WorkDone | WorkFailed:
        """Do one batch."""
        try:
            if self._opened is None:
                raise RuntimeError("no work is open")
            count = self._opened.tokens
            before = dict(count()) if count else {}
            began = time.perf_counter()
            values = [*self._opened.work(batch)]
            seconds = time.perf_counter() - began
            return WorkDone(values, seconds, subtract_counts(count(), before) if count else {})
        except Exception as fault:  # noqa: BLE001 (told to the driver)
            return _explain(fault)

    def close(self) -> None:
        """Close what is open, but for the models that are kept."""
        self._opened = None
        self._stack.close()
        self._stack = ExitStack()


def _use_threads(count: int) -> None:
    """Have torch compute with so many threads, whatever the environment of the node says."""
    import torch

    torch.set_num_threads(count)


def _fetch(reference: Any) -> Opens[Any, Any]:
    """Have Ray unpickle work, and raise what that raises as it is."""
    import ray

    try:
        opens: Opens[Any, Any] = ray.get(reference)
    except ray.exceptions.RaySystemError as fault:
        if isinstance(fault.client_exc, Exception):
            raise fault.client_exc from None
        raise
    return opens


def _explain(fault: Exception) -> WorkFailed:
    if isinstance(fault, StoreFault) and not fault.lasting:
        return WorkFailed(str(fault))  # which another try may not meet
    if isinstance(fault, UserError):
        return WorkFailed(str(fault), fault)
    if isinstance(fault, EngineFailure):
        return WorkFailed(str(fault), dead=True)
    return WorkFailed("".join(traceback.format_exception(fault)[-3:]).strip())
