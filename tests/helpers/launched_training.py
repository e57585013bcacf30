"""Trains a student in one process or in several, as a launcher would start them."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from distill.recipe import Recipe
from helpers import fresh_process


def train_in_processes(
    folder: Path,
    recipe: Recipe,
    processes: int,
    dies_at: int | None = None,
    config: Path | None = None,
    stops_at: int | None = None,
) -> None:
    """Until the student is trained; or, in all processes, until the step at which they die, or at
    which the last of them gets SIGTERM."""
    shared = {"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    shared |= {} if config is None else read_launch_environment(config)
    with _hold_port() as port:
        started = [
            fresh_process.FreshProcess(
                folder.with_name(f"{folder.name}-process-{rank}"),
                train_in_process,
                folder,
                recipe.model_dump_json(),
                dies_at,
                stops_at if rank == processes - 1 else None,
                environment=shared
                | {"MASTER_PORT": port, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(processes)
        ]
        ended = [process.wait() for process in started]
    for done in ended:
        assert (done.returncode == 0) == (dies_at is stops_at is None), done.stderr[-3000:]
        assert ("KeyboardInterrupt" in done.stderr) == (stops_at is not None)


def read_launch_environment(config: Path) -> dict[str, str]:
    """The environment that `accelerate launch --config_file` starts the processes in."""
    words = ["--config_file", str(config), "--num_processes", "2", "train.py"]
    asked, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    return {key: value for key, value in prepare_multi_gpu_env(asked).items() if "FSDP" in key}


def train_in_process(
    folder: Path, recipe_json: str, dies_at: int | None, stops_at: int | None
) -> None:
    """In one of the processes."""
    from distill.runtime import processes
    from distill.store.run import Run
    from distill.student.build import build_base
    from distill.train.settings import TrainingSettings
    from distill.train.stage import train_student
    from helpers.training_by_hand import make_example_rows, write_inputs

    torch.set_num_threads(1)
    recipe = Recipe.model_validate_json(recipe_json)
    rows = [row for row in make_example_rows() if row["negatives"]][:4]
    run = Run(folder)
    if dies_at is not None:
        import pytest

        from helpers.killed_training import arrange_death

        arrange_death("step", dies_at, lambda: os._exit(9), pytest.MonkeyPatch())
    if stops_at is not None:
        import pytest
        from train.loop.test_stopping import arrange_signals

        arrange_signals(stops_at, (signal.SIGTERM,), pytest.MonkeyPatch())
    processes.connect("cpu")
    if processes.is_sharded():
        _spread_over_cpus()
    with processes.let_main_go_first():
        run.folder.mkdir(exist_ok=True)
        passages, examples = write_inputs(run, rows)
        base = build_base(run, recipe.student, recipe.seed)
    assert train_student(run, TrainingSettings.select(recipe), passages, [examples], base).complete


def _spread_over_cpus() -> None:
    """accelerate spreads a model over GPUs alone; torch does so on CPUs too."""
    import accelerate.state

    kinds = accelerate.state.DistributedType

    class Kinds:
        def __getattr__(self, name: str) -> object:
            return kinds.MULTI_CPU if name == "MULTI_NEURON" else getattr(kinds, name)

    accelerate.state.DistributedType = Kinds()


@contextmanager
def _hold_port() -> Iterator[str]:
    """A free port of which the system gives nobody else the number meanwhile: who names it may
    listen there, since this socket does not."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield str(held.getsockname()[1])
