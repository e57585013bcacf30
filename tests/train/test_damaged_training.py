"""A training whose files were damaged between two commands: nothing of them is used, and it ends
with the bytes of an undisturbed one."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from helpers.killed_training import train_and_die
from helpers.training_by_hand import make_recipe, train_in
from helpers.written_files import read_files

from distill.recipe import Recipe
from distill.train.loop.checkpoint import MARKER, find_fault, mark_complete
from distill.train.loop.weight_averaging import WeightAverager

TRAIN = {"checkpoint_steps": 3, "epochs": 4, "soup": 2, "validation": {"every": 2}}


@pytest.fixture(scope="module")
def recipe(encoder_folder) -> Recipe:
    return make_recipe(encoder_folder, train=TRAIN)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, recipe) -> dict[str, bytes]:
    return read_files(train_in(tmp_path_factory.mktemp("whole") / "run", recipe).folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, recipe) -> Path:
    """A run that was killed behind its second checkpoint."""
    run = tmp_path_factory.mktemp("killed") / "run"
    train_and_die(run, recipe, "step", 8)
    return run


class Evil:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


def unlink(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def write_garbage(path: Path) -> None:
    path.write_bytes(os.urandom(500))


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(path.with_name("unpickled"))))
    mark_complete(path.parent)  # with a checksum that is right


def write_zipped_pickle(path: Path) -> None:
    torch.save(Evil(path.with_name("unpickled")), path)
    mark_complete(path.parent)


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"],
)
@pytest.mark.parametrize("damage", [unlink, cut, flip, write_garbage])
@pytest.mark.bad_input("damage", "a checkpoint's file cut, flipped, gone", "the one before, said")
def test_damaged_file_of_a_checkpoint_is_found(tmp_path, killed, name, damage):
    checkpoint = tmp_path / "checkpoint-6"
    shutil.copytree(next(killed.rglob("checkpoint-6")), checkpoint)
    assert find_fault(checkpoint) is None
    damage(checkpoint / name)
    assert name in (find_fault(checkpoint) or "")
    if damage is not flip:  # one made before there were checksums
        (checkpoint / MARKER).write_bytes(b"")
        assert name in (find_fault(checkpoint) or "")


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("write", [write_pickle, write_zipped_pickle])
@pytest.mark.bad_input("security", "a pickle in a checkpoint", "not run; the one before, said")
def test_pickle_in_a_checkpoint_is_not_run(tmp_path, killed, name, write):
    checkpoint = tmp_path / "checkpoint-6"
    shutil.copytree(next(killed.rglob("checkpoint-6")), checkpoint)
    write(checkpoint / name)
    assert f"{name} cannot be read (UnpicklingError)" in (find_fault(checkpoint) or "")
    assert not (checkpoint / "unpickled").exists()


@pytest.mark.parametrize("steps", [[6], [3, 6]], ids=["the newest", "both"])
def test_training_goes_on_at_the_newest_whole_checkpoint(
    tmp_path, killed, recipe, undisturbed, steps, caplog
):
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    for step in steps:
        cut(next(run.rglob(f"checkpoint-{step}")) / "optimizer.pt")
    assert read_files(train_in(run, recipe).folder) == undisturbed
    assert caplog.text.count("is damaged: optimizer.pt has") == len(steps)


def test_damaged_weights_that_are_kept_are_trained_again(
    tmp_path, killed, recipe, undisturbed, caplog
):
    run = tmp_path / "run"
    shutil.copytree(killed, run)
    kept = sorted(next(run.rglob("kept")).glob("*.safetensors"))
    for path in kept:
        flip(path)
    assert read_files(train_in(run, recipe).folder) == undisturbed
    assert caplog.text.count("it is trained again") == len(kept) > 0


@pytest.mark.parametrize("damage", [cut, flip])
def test_stage_whose_weights_are_damaged_is_trained_again(tmp_path, recipe, damage, caplog):
    stages = [{"name": "one", "epochs": 2}, {"name": "two", "epochs": 2}]
    two = recipe.model_copy(deep=True)
    two = Recipe.model_validate(two.model_dump() | {"train": {**TRAIN, "stages": stages}})
    whole = read_files(train_in(tmp_path / "whole", two).folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill.train.stage._write", None)
        with pytest.raises(TypeError):
            train_in(tmp_path / "run", two)
    damage(next((tmp_path / "run").rglob("0-one/student.safetensors")))
    assert read_files(train_in(tmp_path / "run", two).folder) == whole
    assert "the stage is trained again" in caplog.text


def test_weights_without_checksums_are_kept(tmp_path):
    kept = WeightAverager(tmp_path, "last", 2)
    kept.add(torch.nn.Linear(2, 2), 5, 0.5)
    (tmp_path / "00000005.json").unlink()
    assert kept.drop_damaged() is None
    assert kept.list_steps() == [5]


def test_marker_of_a_checkpoint_names_its_files(killed):
    marker = json.loads((next(killed.rglob("checkpoint-6")) / MARKER).read_text())
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth"} <= marker.keys()
