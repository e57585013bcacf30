"""A training that is killed or stopped ends with the bytes of one that was not."""

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from helpers.fresh_process import run_function
from helpers.killed_training import arrange_death, train_and_die
from helpers.tiny_architectures import make_tiny_decoder
from helpers.training_by_hand import ALIGNED, make_recipe, train_in
from helpers.written_files import read_files

from distill.errors import UserError
from distill.recipe import Recipe


@pytest.fixture(scope="module")
def resumable(encoder_folder, teacher_folder) -> Recipe:
    """With dropout, a projection, two epochs, and examples with and without negatives."""
    train = {"checkpoint_steps": 3, "epochs": 2, **ALIGNED}
    student = {"layers": [0, 2], "dimensions": 16}
    return make_recipe(encoder_folder, teacher_folder, train=train, student=student)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, resumable) -> dict[str, bytes]:
    whole = read_files(train_in(tmp_path_factory.mktemp("whole") / "run", resumable).folder)
    steps = json.loads(whole["training.json"])["curve"][-1]["step"]
    assert steps == 2 * 9  # 1 + 2 batches of examples, 6 of texts
    return whole


def limit(encoder_folder, teacher_folder, most: int) -> Recipe:
    train = {"checkpoint_steps": 3, "epochs": 2, "max_steps": most, **ALIGNED}
    student = {"layers": [0, 2], "dimensions": 16}
    return make_recipe(encoder_folder, teacher_folder, train=train, student=student)


def test_max_steps_end_a_training_within_its_epochs(tmp_path, encoder_folder, teacher_folder):
    recipe = limit(encoder_folder, teacher_folder, 5)
    whole = read_files(train_in(tmp_path / "whole", recipe).folder)
    curve = json.loads(whole["training.json"])["curve"]
    assert curve[-1]["step"] == 5
    # The learning rate falls to its end over these steps.
    assert curve[-1]["learning_rate"] < max(line["learning_rate"] for line in curve) / 2
    train_and_die(tmp_path / "run", recipe, "step", 4)
    assert read_files(train_in(tmp_path / "run", recipe).folder) == whole


def test_limit_above_the_epochs_changes_nothing(
    tmp_path, encoder_folder, teacher_folder, undisturbed
):
    recipe = limit(encoder_folder, teacher_folder, 18)
    assert read_files(train_in(tmp_path / "run", recipe).folder) == undisturbed


@pytest.mark.parametrize(
    ("when", "step"),
    [
        ("step", 2),  # before the first checkpoint
        pytest.param("step", 8, marks=pytest.mark.slow),  # in mid-epoch
        ("step", 9),  # at the epoch's end, where its checkpoint is not yet written
        pytest.param("step", 10, marks=pytest.mark.slow),  # behind it
        ("save", 6),
        pytest.param("save", 15, marks=pytest.mark.slow),
        pytest.param("move", 0, marks=pytest.mark.slow),
        ("move", 3),
        pytest.param("move", 99, marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_it_ends_with_the_undisturbed_bytes(
    tmp_path, resumable, undisturbed, when, step
):
    train_and_die(tmp_path / "run", resumable, when, step)
    assert read_files(train_in(tmp_path / "run", resumable).folder) == undisturbed


def test_lora_goes_on_in_a_run_that_was_moved(tmp_path):
    """A checkpoint's adapter names its base by the path that this had before."""
    make_tiny_decoder(tmp_path / "decoder", initializer_range=0.05)
    student = {"lora": {"rank": 4}}
    recipe = make_recipe(tmp_path / "decoder", student=student, train={"checkpoint_steps": 1})
    whole = read_files(train_in(tmp_path / "whole", recipe).folder)
    train_and_die(tmp_path / "run", recipe, "step", 3)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert read_files(train_in(tmp_path / "moved", recipe).folder) == whole


def test_checkpoint_has_no_model_card(tmp_path, resumable):
    train_and_die(tmp_path / "run", resumable, "step", 8)
    checkpoint = tmp_path / "run" / "student/.stage/training/0-train/checkpoint-6"
    assert (checkpoint / "complete").exists()
    assert (checkpoint / "modules.json").exists()
    assert not (checkpoint / "README.md").exists()


def test_killed_twice_it_goes_on_where_it_was(tmp_path, resumable, undisturbed):
    checkpoints = tmp_path / "run" / "student" / ".stage" / "training" / "0-train"
    train_and_die(tmp_path / "run", resumable, "save", 9)
    assert (checkpoints / "checkpoint-6" / "complete").exists()
    assert not (checkpoints / "checkpoint-9" / "complete").exists()
    assert not (tmp_path / "run" / "student" / "config.json").exists()
    train_and_die(tmp_path / "run", resumable, "step", 7)  # the first step after checkpoint 6
    assert not (checkpoints / "checkpoint-9").exists()
    assert read_files(train_in(tmp_path / "run", resumable).folder) == undisturbed


def train_and_end(folder: Path, recipe_json: str, threads: int) -> None:
    """In a process of its own, which ends behind the eighth step."""
    torch.set_num_threads(threads)
    arrange_death("step", 8, lambda: os._exit(9), pytest.MonkeyPatch())
    train_in(folder, Recipe.model_validate_json(recipe_json))


@pytest.mark.slow
def test_killed_process_is_continued_by_another(tmp_path, resumable, undisturbed):
    recipe, threads = resumable.model_dump_json(), torch.get_num_threads()
    done = run_function(train_and_end, tmp_path / "run", recipe, threads)
    assert done.returncode == 9, done.stderr
    assert read_files(train_in(tmp_path / "run", resumable).folder) == undisturbed


def test_changed_checkpoint_steps_hold_from_the_next_start(tmp_path, encoder_folder):
    seldom, often = (
        make_recipe(encoder_folder, train={"checkpoint_steps": steps, "epochs": 4})
        for steps in (4, 1)
    )
    train_and_die(tmp_path / "run", seldom, "step", 5)
    train_and_die(tmp_path / "run", often, "step", 7)
    checkpoints = tmp_path / "run/student/.stage/training/0-train"
    assert (checkpoints / "checkpoint-6/complete").exists()


def test_resumed_training_loads_its_checkpoint_on_the_cpu(tmp_path, resumable, monkeypatch):
    train_and_die(tmp_path / "run", resumable, "step", 5)
    asked = []
    monkeypatch.setattr(
        "sentence_transformers.base.model.get_device_name", lambda: asked.append("default") or "cpu"
    )
    train_in(tmp_path / "run", resumable)
    assert not asked, "a second whole model would be put on the GPU"


def test_complete_student_is_not_trained_again(tmp_path, encoder_folder, monkeypatch):
    recipe = make_recipe(encoder_folder)
    before = read_files(train_in(tmp_path / "run", recipe).folder)
    faster = recipe.model_copy(deep=True)
    faster.train.checkpoint_steps = 1
    monkeypatch.setattr("distill.train.stage._train", None)
    assert read_files(train_in(tmp_path / "run", faster).folder) == before


@pytest.mark.bad_input("student", "a run that goes on with other processes", "refused")
def test_training_goes_on_with_as_many_processes_as_began(
    tmp_path, resumable, undisturbed, monkeypatch
):
    train_and_die(tmp_path / "run", resumable, "step", 5)
    with monkeypatch.context() as patch:
        patch.setattr("distill.train.stage.processes.count_processes", lambda: 2)
        patch.setattr("distill.train.stage.processes.connect", lambda device: None)
        patch.setattr("distill.train.stage.processes.let_main_go_first", nullcontext)
        with pytest.raises(UserError, match="begun by 1 processes, and there are 2"):
            train_in(tmp_path / "run", resumable)
    assert read_files(train_in(tmp_path / "run", resumable).folder) == undisturbed
