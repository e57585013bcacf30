"""`train.launcher: ray` trains the student that torchrun trains with as many processes. The process
that a person started shows the steps, and passes Ctrl-C on."""

import shutil
import signal
import sys
import threading
from concurrent.futures import Future
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.fresh_process import FreshProcess
from helpers.launched_training import train_in_processes
from helpers.ray_work import SmallCluster, wait_until
from helpers.stopped_step import STEP, train_past_the_kill, train_to_the_stop
from helpers.training_by_hand import make_example_rows, make_recipe, write_inputs

from distill.errors import UserError
from distill.recipe import Recipe, load_recipe, override
from distill.store.run import Run
from distill.student.build import build_base
from distill.train import on_ray
from distill.train.data.sources import TrainingInputs
from distill.train.ray_progress import look_until_done
from distill.train.settings import TrainingSettings

WRITTEN = ("model.safetensors", "training.json")
TRAIN = {"batch_size": 4, "epochs": 6, "learning_rate": 1e-3, "checkpoint_steps": 3}


def put_on(cluster: SmallCluster, recipe: Recipe, **execution: object) -> Recipe:
    where = {"address": cluster.address, **execution}
    return override(recipe, {"train.launcher": "ray", "execution": where})


def train_on(folder: Path, recipe: Recipe) -> None:
    rows = [row for row in make_example_rows() if row["negatives"]][:4]
    with Run(folder) as run:
        passages, examples = write_inputs(run, rows)
        base = build_base(run, recipe.student, recipe.seed)
        inputs = TrainingInputs(run, passages, [examples], None, None)
        on_ray.train_on_ray(recipe.execution, TrainingSettings.select(recipe), inputs, base)


def train_as_command(folder: Path, recipe_json: str) -> None:
    """In a process of its own: behind step 4 the training waits until it is told to stop."""
    from distill import cli

    on_ray.train_student = train_to_the_stop
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where pytest is in background

    @cli.cli.command()
    def train_by_hand() -> None:
        train_on(folder, Recipe.model_validate_json(recipe_json))

    sys.argv = ["distill", "train-by-hand"]
    cli.main()


class Undisturbed(NamedTuple):
    """A training of a cluster that nothing has stopped."""

    student: Path
    printed: str


@pytest.fixture(scope="module")
def undisturbed(cluster, encoder_folder, tmp_path_factory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    printed = StringIO()
    with redirect_stderr(printed):
        train_on(folder, put_on(cluster, make_recipe(encoder_folder, train=TRAIN)))
    return Undisturbed(folder / "student", printed.getvalue())


@pytest.fixture(scope="module")
def stopped(cluster, encoder_folder, tmp_path_factory) -> Path:
    """The folder of a run whose training on two nodes Ctrl-C has stopped behind a step."""
    place = tmp_path_factory.mktemp("stopped")
    recipe = put_on(cluster, make_recipe(encoder_folder, train=TRAIN))
    command = FreshProcess(
        place / "command", train_as_command, place / "run", recipe.model_dump_json()
    )
    wait_until(lambda: (place / "run" / "waits").exists() or not command.is_alive())
    command.send_signal(signal.SIGINT)
    done = command.wait()
    assert done.returncode == 130, done.stderr
    return place / "run"


@pytest.mark.slow
@pytest.mark.bad_input("kills", "Ctrl-C while a cluster trains", "goes on behind that step")
def test_ctrl_c_ends_the_training_of_a_cluster_behind_the_step_in_flight(stopped):
    said = (stopped.parent / "command" / "err").read_text()
    assert "finishing the step in flight" in said
    assert f"training: {STEP} of 6 steps, stopped after" in said
    assert "the same command continues" in said
    assert "Traceback" not in said
    kept = stopped / "student" / ".stage" / "training" / "0-train" / f"checkpoint-{STEP}"
    assert (kept / "complete").exists()


@pytest.mark.slow
@pytest.mark.bad_input("cluster", "bad input that training meets", "refused as in one process")
def test_training_that_a_process_refuses_is_refused_as_in_this_process(
    cluster, encoder_folder, stopped, tmp_path
):
    """The training was begun by two processes, and goes on with one."""
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    recipe = put_on(cluster, make_recipe(encoder_folder, train=TRAIN), workers={"train": 1})
    with pytest.raises(UserError) as refused:
        train_on(folder, recipe)
    assert refused.value.what == "was begun by 2 processes, and there are 1"


@pytest.mark.slow
def test_training_of_a_cluster_that_was_stopped_continues_to_the_same_bytes(
    cluster, encoder_folder, stopped, undisturbed
):
    train_on(stopped, put_on(cluster, make_recipe(encoder_folder, train=TRAIN)))
    for name in WRITTEN:
        assert (stopped / "student" / name).read_bytes() == (
            undisturbed.student / name
        ).read_bytes()


@pytest.mark.slow
def test_process_that_a_person_started_shows_the_steps_of_a_cluster(undisturbed):
    lines = [line for line in undisturbed.printed.splitlines() if line.startswith("training:")]
    # The last line; before it others where ten seconds have passed.
    assert lines[-1].startswith("training: 6 of 6 steps, in ")
    assert "loss " in lines[-1]


def test_steps_of_a_training_that_ends_while_it_is_looked_at_are_looked_at_again():
    training, looks = Future[None](), []

    def look() -> None:
        looks.append(training.done())
        if len(looks) == 1:
            training.set_result(None)

    look_until_done(training, look)
    assert looks == [False, True]


@pytest.fixture
def kills_at_a_checkpoint(cluster, tmp_path, monkeypatch):
    """Kills a node when the run has a checkpoint, behind which it waits. Another comes when that
    was noticed."""
    killed, tries, run = threading.Event(), [], on_ray._try_once

    def wait_and_kill() -> None:
        wait_until(lambda: (tmp_path / "ray" / "waits").exists())
        cluster.kill_node()
        killed.set()
        (tmp_path / "ray" / "goes-on").touch()

    def run_and_mend(*arguments):
        tries.append(run(*arguments))
        if len(tries) == 1:
            cluster.add_node()
        return tries[-1]

    monkeypatch.setattr(on_ray, "_try_once", run_and_mend)
    monkeypatch.setattr(on_ray, "train_student", train_past_the_kill)
    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    yield killed
    thread.join()


@pytest.mark.slow
def test_two_processes_of_a_cluster_train_what_torchrun_trains_though_a_node_is_lost(
    cluster, encoder_folder, tmp_path, kills_at_a_checkpoint
):
    """Dropout is on: each process has the random numbers that it has with torchrun."""
    recipe = make_recipe(encoder_folder, train=TRAIN)
    train_in_processes(tmp_path / "torchrun", recipe, 2)
    train_on(tmp_path / "ray", put_on(cluster, recipe))
    assert kills_at_a_checkpoint.is_set()
    torchrun, ray = (tmp_path / name / "student" for name in ("torchrun", "ray"))
    for name in WRITTEN:
        assert (torchrun / name).read_bytes() == (ray / name).read_bytes()
    assert {path.name for path in torchrun.iterdir()} == {path.name for path in ray.iterdir()}


@pytest.mark.slow
def test_recipe_trains_its_student_on_the_cluster_and_goes_on(
    cluster, whole_run, recipe_file, tmp_path
):
    from safetensors.torch import load_file
    from torch import allclose

    from distill.pipeline.job import Job

    folder = tmp_path / "run"
    shutil.copytree(whole_run, folder)
    shutil.rmtree(folder / "student")
    recipe = put_on(cluster, load_recipe(recipe_file), workers={"train": 1})
    with Run(folder) as run:
        _, _, student = Job(run, recipe).train_student()
    assert student.complete
    here, there = (load_file(of / "student" / "model.safetensors") for of in (whole_run, folder))
    assert all(allclose(here[name], there[name], atol=1e-5) for name in here)
    assert not (student.metadata_dir / "training").exists()


@pytest.mark.slow
@pytest.mark.bad_input("cluster", "more processes than it has places for", "refused by what it has")
def test_processes_beyond_the_room_of_the_cluster_are_refused(cluster, encoder_folder, tmp_path):
    recipe = make_recipe(encoder_folder, train=TRAIN)
    recipe = put_on(cluster, recipe, workers={"train": 3}, patience=1)
    with pytest.raises(UserError) as refused:
        train_on(tmp_path / "run", recipe)
    assert "3 processes" in refused.value.what
    assert "2 CPUs" in refused.value.what
