"""Train on the GPUs of a Ray cluster: Ray Train starts the processes, as torchrun or `accelerate
launch` would, and each of them runs the same training."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.recipe import Execution
from distill.runtime.interrupt import Interrupt
from distill.runtime.processes import PATIENCE, is_main
from distill.runtime.progress import show_activity, show_progress
from distill.runtime.run_log import log_to
from distill.store.run import Run
from distill.store.stage import Stage
from distill.train.data.sources import TrainingInputs
from distill.train.ray_progress import (
    SECONDS_BETWEEN_READINGS,
    RemoteProgress,
    look_until_done,
    read_progress,
    report_progress,
    start_progress_actor,
)
from distill.train.settings import TrainingSettings
from distill.train.stage import open_student, train_student
from distill.workers.proof import ProofRequest, prove
from distill.workers.protocol import WorkerNeeds
from distill.workers.ray_pool import ClusterSettings, Demand, RayPool, read_clock

_log = logging.getLogger(__name__)
_MOST_WORDS = 600
_NEVER_AGAIN: dict[str, Any] = {"max_failures": 0, "controller_failure_limit": 0}
"""Repeating is ours: what a process refuses is not tried again."""

Training = Callable[[Run], Stage]
"""Trains in a run, in each of the processes. It has to be picklable."""


def train_on_ray(
    execution: Execution,
    settings: TrainingSettings,
    inputs: TrainingInputs,
    base: Stage,
    earlier: Stage | None = None,
    static: Stage | None = None,
) -> None:
    """Train a student as `train_student` does, in as many processes as `execution.workers: {train:
    N}` says, or as the cluster has room for. Without an effect where it is trained.

    Where a process is lost the others end, and all begin again at the last checkpoint.

    Raises:
        UserError: as the training raises it; if the cluster has no room, or it failed too often.
        KeyboardInterrupt: after a first Ctrl-C, behind the step in flight, with a checkpoint of
            it; after a second one at once. The same command continues at the last checkpoint.
    """
    stage = open_student(settings, inputs, base, earlier, static)
    if stage.complete:
        return
    run, passages = inputs.run, inputs.passages
    train = partial(
        train_student,
        settings=settings,
        passages=passages,
        examples=list(inputs.examples),
        base=base,
        labels=inputs.labels,
        teacher_scores=inputs.teacher_scores,
        earlier=earlier,
        static=static,
    )
    with _open_pool(run, execution) as pool:
        needs = WorkerNeeds("train", settings.train.device)
        demand = pool.find_demand(needs)
        count = pool.count_places(needs, demand)
        pool.dismiss_all()
        work = partial(_train_here, train, run.folder, bool(demand.gpus), pool.request)
        with show_activity(f"training on {count} processes of the cluster"):
            _try_often(pool, work, demand, count, stage.metadata_dir / "training")
    stage.mirror.finish(stage.folder)


def _try_often(
    pool: RayPool, work: Callable[[Any], None], demand: Demand, count: int, folder: Path
) -> None:
    """Train, and start again where a process was lost, once there is a place for all of them.

    Args:
        folder: for what Ray Train notes; it goes when the training is done.

    Raises:
        UserError: if it failed too often.
        KeyboardInterrupt: if a signal came.
    """
    tries = pool.settings.tries
    for tries_left in reversed(range(tries)):
        _wait_for_room(pool, demand, count)
        words = _try_once(pool, work, demand, count, folder)
        if words is None:
            return
        _log.warning("training on %d processes failed: %s", count, words[-_MOST_WORDS:])
        if not tries_left:
            raise UserError(
                "training on a Ray cluster",
                f"failed {tries} times; the last time: {words[-_MOST_WORDS:]}",
                "fix what it says; the same command continues at the last checkpoint",
            )


@contextmanager
def _open_pool(run: Run, execution: Execution) -> Iterator[RayPool]:
    """Use the run's cluster, or connect to one for the training alone."""
    if isinstance(run.workers, RayPool):
        yield run.workers
        return
    pool = RayPool(ClusterSettings(**execution.cluster), run.folder)
    try:
        yield pool
    finally:
        pool.close()


def _wait_for_room(pool: RayPool, demand: Demand, count: int) -> None:
    """Wait until the cluster has places for all processes.

    Raises:
        UserError: if it has not for `execution.patience` seconds.
    """
    since = read_clock()
    while pool.count_room(demand) < count:
        if read_clock() - since > pool.settings.patience:
            raise UserError(
                "training on a Ray cluster",
                f"had no place for {pool.settings.patience:.0f} s: it asks for {count} processes "
                f"with {demand.describe()} each, and the cluster has {pool.describe_cluster()}",
                "add nodes, or lower execution.workers: {train: N} or execution.cpus; the same "
                "command continues",
            )
        time.sleep(SECONDS_BETWEEN_READINGS)


def _try_once(
    pool: RayPool, work: Callable[[Any], None], demand: Demand, count: int, folder: Path
) -> str | None:
    """Train once, and show how far it is. Returns what went wrong with a process, None if nothing
    did.

    Raises:
        KeyboardInterrupt: if a signal came.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    resources: dict[str, float] = {"CPU": demand.cpus}
    if demand.gpus:
        resources["GPU"] = demand.gpus
    scaling = ScalingConfig(
        num_workers=count, use_gpu=bool(demand.gpus), resources_per_worker=resources
    )
    running = RunConfig(
        name="ray",
        storage_path=str(folder.resolve()),
        failure_config=FailureConfig(**_NEVER_AGAIN),
    )
    backend = TorchConfig(timeout_s=int(PATIENCE.total_seconds()))
    interrupt = Interrupt("step")
    try:
        with start_progress_actor(pool) as actor, interrupt, RemoteProgress() as work_there:
            trainer = TorchTrainer(
                partial(work, actor),
                torch_config=backend,
                scaling_config=scaling,
                run_config=running,
            )
            fitted = _fit(trainer)
            look_until_done(
                fitted, lambda: work_there.show(read_progress(actor, interrupt.is_requested))
            )
            fitted.result()
            interrupt.stop_if_requested()
    except TrainingFailedError as fault:
        words = _read_failure(fault)
        interrupt.stop_if_requested()
        return words
    return None


def _read_failure(fault: Exception) -> str:
    """Read what went wrong with a process.

    Raises:
        UserError: as the process raised it.
    """
    from ray.train import WorkerGroupError

    failures = fault.worker_failures if isinstance(fault, WorkerGroupError) else {}
    for failure in failures.values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, UserError):
            raise cause from None
    return " ".join(str(fault).split())


def _fit(trainer: Any) -> Future[None]:
    """Train in a thread of its own. In the main one Ray Train would answer Ctrl-C itself: it ends
    the processes in the middle of a step."""
    done: Future[None] = Future()

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as fault:  # noqa: BLE001 (raised where the main thread waits)
            done.set_exception(fault)
        else:
            done.set_result(None)

    threading.Thread(target=fit, daemon=True).start()
    return done


def _train_here(
    train: Training, folder: Path, has_gpu: bool, request: ProofRequest, actor: Any
) -> None:
    """Train in a process that Ray Train has started and connected with the others. The first one
    reports; where it is told to stop, all of them end behind the same step."""
    show_progress(quiet=True)
    prove(request)
    if not has_gpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    with ExitStack() as stack:
        stack.enter_context(suppress(KeyboardInterrupt))  # the process that was signalled raises it
        if is_main():
            stack.enter_context(log_to(folder))
            stack.enter_context(report_progress(actor))
        train(Run(folder))  # which the process that started this one has locked
