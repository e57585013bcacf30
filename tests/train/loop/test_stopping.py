"""A training that gets SIGTERM or Ctrl-C: it goes on behind the very step at which it was stopped,
and ends with the bytes of an undisturbed one, the lines of its curve included."""

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.fresh_process import FreshProcess
from helpers.launched_training import train_in_processes
from helpers.training_by_hand import make_recipe, train_in
from helpers.written_files import read_files
from safetensors.torch import load_file
from train.test_processes import SPREAD

from distill.errors import UserError
from distill.recipe import Recipe
from distill.train.checks_after import TrainingCheck
from distill.train.loop.callbacks import CheckpointCallback, ProgressCallback

LAST = 2 * 9  # steps: two epochs of 1 + 2 batches of examples and 6 of texts
CHECKPOINTS = Path("student/.stage/training/0-train")


@pytest.fixture(autouse=True)
def _heed_ctrl_c():
    """A shell starts what runs in the background to ignore Ctrl-C, and so these tests too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def arrange_signals(step: int, numbers: Sequence[int], patch: pytest.MonkeyPatch) -> list[int]:
    """Signals to this process at the end of a step. Returns where each training begins, as
    it does."""
    begun = []

    class Signalling(ProgressCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            begun.append(state.global_step)
            super().on_train_begin(args, state, control, **kwargs)

        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == step:
                for number in numbers:
                    signal.raise_signal(number)  # to this very thread: handled before it returns

    patch.setattr("distill.train.loop.trainer.ProgressCallback", Signalling)
    return begun


def train_and_stop(
    folder: Path, recipe: Recipe, step: int, signals: Sequence[int] = (signal.SIGTERM,)
) -> list[int]:
    with pytest.MonkeyPatch.context() as patch:
        begun = arrange_signals(step, signals, patch)
        with pytest.raises(KeyboardInterrupt):
            train_in(folder, recipe)
    return begun


def train_on(folder: Path, recipe: Recipe) -> tuple[list[int], dict[str, bytes]]:
    """To its end. Returns where it began, and what it made."""
    with pytest.MonkeyPatch.context() as patch:
        begun = arrange_signals(0, (), patch)
        return begun, read_files(train_in(folder, recipe).folder)


@pytest.fixture(scope="module")
def recipe(encoder_folder, teacher_folder) -> Recipe:
    """With dropout, a projection, mini-batches, looks, and the mean of two steps' weights."""
    train = {"checkpoint_steps": 3, "mini_batch_tokens": 40, "soup": 2, "validation": {"every": 4}}
    train |= {"objective": {"infonce": 1.0, "align": 1.0}}
    train |= {"align": {"passages": 8, "sentences": 8, "batch_size": 3}}
    student = {"layers": [0, 2], "dimensions": 16}
    return make_recipe(encoder_folder, teacher_folder, train=train, student=student)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, recipe) -> dict[str, bytes]:
    whole = read_files(train_in(tmp_path_factory.mktemp("whole") / "run", recipe).folder)
    assert json.loads(whole["training.json"])["curve"][-1]["step"] == LAST
    return whole


@pytest.mark.parametrize(
    "step",
    [
        8,  # between two regular checkpoints, where a look is due
        pytest.param(9, marks=pytest.mark.slow),  # at the epoch's end
        11,  # behind a line of the curve
    ],
)
@pytest.mark.bad_input("kills", "SIGTERM while a student trains", "goes on behind that step")
def test_stopped_training_goes_on_behind_the_step_where_it_was(tmp_path, recipe, undisturbed, step):
    assert train_and_stop(tmp_path / "run", recipe, step) == [0]
    assert (tmp_path / "run" / CHECKPOINTS / f"checkpoint-{step}" / "complete").exists()
    begun, made = train_on(tmp_path / "run", recipe)
    assert begun == [step]
    assert made == undisturbed


def test_stopped_at_the_last_step_nothing_is_left_to_train(tmp_path, recipe, undisturbed):
    train_and_stop(tmp_path / "run", recipe, LAST)
    assert train_on(tmp_path / "run", recipe) == ([], undisturbed)


@pytest.mark.slow
def test_stopped_behind_every_step_it_ends_with_the_same_bytes(tmp_path, recipe, undisturbed):
    for step in range(1, LAST):
        assert train_and_stop(tmp_path / "run", recipe, step) == [step - 1]
        left = list((tmp_path / "run" / CHECKPOINTS).glob("checkpoint-*"))
        assert len(left) == min(step, 2), "as many as of regular checkpoints"
    assert train_on(tmp_path / "run", recipe) == ([LAST - 1], undisturbed)


@pytest.mark.parametrize(
    "name", ["unlogged_0.safetensors", pytest.param("optimizer.pt", marks=pytest.mark.slow)]
)
def test_checkpoint_before_counts_where_the_last_is_damaged(
    tmp_path, recipe, undisturbed, caplog, name
):
    train_and_stop(tmp_path / "run", recipe, 8)
    (tmp_path / "run" / CHECKPOINTS / "checkpoint-8" / name).unlink()
    assert train_on(tmp_path / "run", recipe) == ([6], undisturbed)
    assert "checkpoint-8 is damaged" in caplog.text
    assert f"{name} is missing" in caplog.text


def test_ctrl_c_after_a_signal_does_not_wait_for_a_checkpoint(tmp_path, recipe, undisturbed):
    train_and_stop(tmp_path / "run", recipe, 8, signals=(signal.SIGTERM, signal.SIGINT))
    assert not (tmp_path / "run" / CHECKPOINTS / "checkpoint-8").exists()
    assert train_on(tmp_path / "run", recipe) == ([6], undisturbed)


def test_second_sigterm_waits_for_the_checkpoint(tmp_path, recipe, undisturbed):
    """A launcher passes its own on to workers that the job system has signalled already."""
    train_and_stop(tmp_path / "run", recipe, 8, signals=(signal.SIGTERM, signal.SIGTERM))
    assert train_on(tmp_path / "run", recipe) == ([8], undisturbed)


def test_loss_that_rose_is_refused_also_where_a_signal_came(tmp_path, recipe, monkeypatch):
    """Else the next command, which trains nothing any more, would only warn."""
    verdict = TrainingCheck("the loss rose", True)
    monkeypatch.setattr("distill.train.training_stage.check_loss_curve", lambda *_: verdict)
    arrange_signals(LAST, (signal.SIGTERM,), monkeypatch)
    with pytest.raises(UserError, match="the loss rose"):
        train_in(tmp_path / "run", recipe)


def train_as_command(folder: Path, recipe_json: str, seconds: float, threads: int) -> None:
    """In a process of its own: the eighth step ends, and its checkpoint, when there is a file. The
    seconds after SIGTERM count from the checkpoint's begin, however slow the machine is."""
    from distill import cli
    from distill.runtime import interrupt

    def wait_for(name: str) -> None:
        (folder / f"began-{name}").touch()
        while not (folder / f"end-{name}").exists():
            time.sleep(0.01)

    class Waiting(CheckpointCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 8:
                wait_for("step")
            super().on_step_end(args, state, control, **kwargs)

        def on_save(self, args, state, control, **kwargs):
            if state.global_step == 8:
                wait_for("save")
            super().on_save(args, state, control, **kwargs)

    @cli.cli.command()
    def train_by_hand() -> None:
        train_in(folder / "run", Recipe.model_validate_json(recipe_json))

    def sleep_in_the_save(seconds: float) -> None:
        while not (folder / "began-save").exists():
            time.sleep(0.01)
        time.sleep(seconds)

    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where pytest is in background
    interrupt.SECONDS_AFTER_SIGTERM = seconds
    interrupt.time = SimpleNamespace(sleep=sleep_in_the_save)
    pytest.MonkeyPatch().setattr("distill.train.loop.trainer.CheckpointCallback", Waiting)
    sys.argv = ["distill", "train-by-hand"]
    cli.main()


def start_command(folder: Path, recipe: Recipe, seconds: float = 600.0) -> FreshProcess:
    arguments = (folder, recipe.model_dump_json(), seconds, torch.get_num_threads())
    command = FreshProcess(folder, train_as_command, *arguments)
    while not (folder / "began-step").exists():
        assert command.is_alive(), command.read_errors()
        time.sleep(0.01)
    return command


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_ends_behind_the_step_in_flight(tmp_path, recipe, undisturbed, number):
    (tmp_path / "end-save").touch()
    command = start_command(tmp_path, recipe)
    command.send_signal(number)
    while "finishing the step in flight" not in command.read_errors():
        assert command.is_alive(), command.read_errors()
        time.sleep(0.01)
    (tmp_path / "end-step").touch()
    done = command.wait()
    assert done.returncode == 130
    assert "the same command continues" in done.stderr
    assert "Traceback" not in done.stderr
    assert train_on(tmp_path / "run", recipe) == ([8], undisturbed)


@pytest.mark.slow
@pytest.mark.bad_input(
    "kills", "SIGTERM and a checkpoint that takes long", "exits within ten seconds, the one before"
)
def test_checkpoint_that_takes_too_long_does_not_count(tmp_path, recipe, undisturbed):
    command = start_command(tmp_path, recipe, seconds=2.0)
    command.send_signal(signal.SIGTERM)
    (tmp_path / "end-step").touch()
    done = command.wait()
    assert done.returncode == 143
    assert "the same command continues" in done.stderr.lower()
    assert (tmp_path / "began-save").exists()
    assert not (tmp_path / "run" / CHECKPOINTS / "checkpoint-8" / "complete").exists()
    assert train_on(tmp_path / "run", recipe) == ([6], undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("config", [None, SPREAD])
def test_processes_all_stop_where_one_gets_the_signal(tmp_path, encoder_folder, config):
    train = {"batch_size": 4, "epochs": 6, "learning_rate": 1e-3, "checkpoint_steps": 3}
    recipe = make_recipe(encoder_folder, train=train)
    train_in_processes(tmp_path / "whole", recipe, 2, config=config)
    train_in_processes(tmp_path / "run", recipe, 2, config=config, stops_at=5)
    checkpoint = tmp_path / "run" / CHECKPOINTS / "checkpoint-5"
    assert {f"unlogged_{n}.safetensors" for n in (0, 1)} < {p.name for p in checkpoint.iterdir()}
    assert (checkpoint / "complete").exists()
    train_in_processes(tmp_path / "run", recipe, 2, config=config)
    whole, resumed = (tmp_path / name / "student" for name in ("whole", "run"))
    assert (whole / "training.json").read_bytes() == (resumed / "training.json").read_bytes()
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
