"""A training whose first process waits behind a step until it is told to stop or to go on."""

from collections.abc import Callable
from typing import Any

from distill.runtime.interrupt import Interrupt
from distill.runtime.processes import is_main
from distill.store.run import Run
from distill.train.loop import trainer
from distill.train.loop.callbacks import ProgressCallback
from distill.train.stage import train_student
from helpers.ray_work import wait_until

STEP = 4


def train_to_the_stop(run: Run, **settings: Any) -> object:
    """Train as `train_student` does; when the step is behind it, leave a file `waits` in the run's
    folder, and wait for Ctrl-C."""
    _wait_behind_the_step(run, lambda: Interrupt().is_requested)
    return train_student(run, **settings)


def train_past_the_kill(run: Run, **settings: Any) -> object:
    """Train as `train_student` does; when the step is behind it, leave a file `waits` in the run's
    folder, and wait for a file `goes-on` there."""
    _wait_behind_the_step(run, (run.folder / "goes-on").exists)
    return train_student(run, **settings)


def _wait_behind_the_step(run: Run, may_go_on: Callable[[], bool]) -> None:
    reached = run.folder / "waits"

    class Waiting(ProgressCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            super().on_step_end(args, state, control, **others)
            if state.global_step == STEP and is_main():
                reached.touch()
                wait_until(may_go_on)

    trainer.ProgressCallback = Waiting
