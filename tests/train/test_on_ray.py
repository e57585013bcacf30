"""`train.launcher: ray` trains the student that torchrun trains with as many processes."""

import threading
from pathlib import Path

import pytest
from helpers.launch import start
from helpers.ray_work import SmallCluster, wait_until
from helpers.training_by_hand import example_rows, make_recipe, write_inputs

from distill.errors import UserError
from distill.recipe import Recipe, load_recipe, override
from distill.store.run import Run
from distill.student.build import build_base
from distill.train import on_ray
from distill.train.data.sources import TrainingInputs
from distill.train.settings import TrainingSettings

TRAIN = {"batch_size": 4, "epochs": 6, "learning_rate": 1e-3, "checkpoint_steps": 3}


def put_on(cluster: SmallCluster, recipe: Recipe, **execution: object) -> Recipe:
    where = {"address": cluster.address, **execution}
    return override(recipe, {"train.launcher": "ray", "execution": where})


def train_on(folder: Path, recipe: Recipe) -> None:
    rows = [row for row in example_rows() if row["negatives"]][:4]
    with Run(folder) as run:
        passages, examples = write_inputs(run, rows)
        base = build_base(run, recipe.student, recipe.seed)
        inputs = TrainingInputs(run, passages, [examples], None, None)
        on_ray.train_on_ray(recipe.execution, TrainingSettings.select(recipe), inputs, base)


@pytest.fixture
def kills_at_a_checkpoint(cluster, tmp_path, monkeypatch):
    """Kills a node when the run has a checkpoint. Another comes when that was noticed."""
    killed, tries, run = threading.Event(), [], on_ray._try_once

    def wait_and_kill() -> None:
        training = tmp_path / "ray" / "student" / ".stage" / "training"
        wait_until(lambda: any(training.glob("*/checkpoint-*/complete")))
        cluster.kill_node()
        killed.set()

    def run_and_mend(*arguments):
        tries.append(run(*arguments))
        if len(tries) == 1:
            cluster.add_node()
        return tries[-1]

    monkeypatch.setattr(on_ray, "_try_once", run_and_mend)
    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    yield killed
    thread.join()


@pytest.mark.slow
def test_two_processes_of_a_cluster_train_what_torchrun_trains_though_a_node_is_lost(
    cluster, encoder_folder, tmp_path, kills_at_a_checkpoint
):
    """Dropout is on: each process has the random numbers that it has with torchrun."""
    recipe = make_recipe(encoder_folder, train=TRAIN | {"epochs": 60})
    start(tmp_path / "torchrun", recipe, 2)
    train_on(tmp_path / "ray", put_on(cluster, recipe))
    assert kills_at_a_checkpoint.is_set()
    torchrun, ray = (tmp_path / name / "student" for name in ("torchrun", "ray"))
    for name in ("model.safetensors", "training.json"):
        assert (torchrun / name).read_bytes() == (ray / name).read_bytes()
    assert {path.name for path in torchrun.iterdir()} == {path.name for path in ray.iterdir()}


@pytest.mark.slow
def test_a_recipe_trains_its_student_on_the_cluster_and_goes_on(
    cluster, whole_run, recipe_file, tmp_path
):
    import shutil

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
def test_more_processes_than_the_cluster_has_room_for_are_refused(
    cluster, encoder_folder, tmp_path
):
    recipe = make_recipe(encoder_folder, train=TRAIN)
    recipe = put_on(cluster, recipe, workers={"train": 3}, patience=1)
    with pytest.raises(UserError) as refused:
        train_on(tmp_path / "run", recipe)
    assert "3 processes" in refused.value.what
    assert "2 CPUs" in refused.value.what


@pytest.mark.slow
@pytest.mark.bad_input("cluster", "bad input that training meets", "refused as in one process")
def test_training_that_a_process_refuses_is_refused_as_in_this_process(
    cluster, encoder_folder, tmp_path
):
    """The training was begun by one process, and goes on with two."""
    recipe = make_recipe(encoder_folder, train=TRAIN)
    start(tmp_path / "run", recipe, 1, dies_at=4)
    with pytest.raises(UserError) as refused:
        train_on(tmp_path / "run", put_on(cluster, recipe))
    assert refused.value.what == "was begun by 1 processes, and there are 2"
