"""Two processes train the student that one trains, and the first of them writes it."""

import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from helpers.fresh_process import run_distill
from helpers.launched_training import train_in_processes
from helpers.tiny_models import make_tiny_encoder
from helpers.training_by_hand import make_example_rows, make_recipe
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.recipe import Train
from distill.runtime.processes import connect
from distill.train.loop.fsdp import check_sharded


def without_dropout(folder: Path) -> Path:
    """Which would differ between two processes and one."""
    for file in folder.rglob("config.json"):
        config = json.loads(file.read_text())
        if "hidden_dropout_prob" in config:
            dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
            file.write_text(json.dumps(config | dropouts))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, teacher_folder) -> dict[int, Path]:
    """The same four examples at each step: in one batch, or in two processes' halves of it. With a
    projection, which no library keeps equal in all processes, and a checkpoint that is kept."""
    folder = tmp_path_factory.mktemp("processes")
    encoder = without_dropout(make_tiny_encoder(folder / "encoder"))
    train = {
        "objective": {"infonce": 1.0, "align": 1.0},
        "infonce": {"cross_device": True, "learn_temperature": True},
        "epochs": 4,
        "learning_rate": 1e-3,
        "checkpoint_steps": 2,
        "soup": 2,
        "validation": {"every": 1},
    }
    for processes in (1, 2):
        recipe = make_recipe(encoder, teacher_folder, train=train | {"batch_size": 4})
        train_in_processes(folder / str(processes), recipe, processes)
    return {processes: folder / str(processes) / "student" for processes in (1, 2)}


def test_others_wait_for_days(monkeypatch):
    given = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("accelerate.PartialState", lambda **settings: given.update(settings))
    connect("cpu")
    assert given == {"cpu": True, "timeout": timedelta(days=7)}


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(trained):
    one, two = (load_file(trained[n] / "model.safetensors") for n in (1, 2))
    base = load_file(trained[1].parent / "base" / "model.safetensors")
    for name, weight in one.items():
        assert torch.allclose(weight, two[name], atol=2e-5), name
    assert any(not torch.allclose(one[name], base[name], atol=1e-3) for name in one)


@pytest.mark.slow
def test_processes_take_as_many_steps_and_one_of_them_writes(trained):
    one, two = (json.loads((trained[n] / "training.json").read_text()) for n in (1, 2))
    assert one["stages"][0]["steps"] == two["stages"][0]["steps"] == 4
    assert (
        one["stages"][0]["examples"] == len([r for r in make_example_rows() if r["negatives"]]) - 2
    )
    assert [line["step"] for line in two["looks"]] == [0, 1, 2, 3, 4]
    assert {path.name for path in trained[1].iterdir()} == {p.name for p in trained[2].iterdir()}
    assert [path.name for path in (trained[2] / ".stage").iterdir()] == ["manifest.json"]


@pytest.mark.slow
def test_two_processes_resume_in_the_second_epoch_where_they_were(tmp_path, encoder_folder):
    """Each example is seen twice in an epoch, which then has two steps."""
    train = {"batch_size": 4, "epochs": 3, "learning_rate": 1e-3, "checkpoint_steps": 3}
    train |= {"mixture": [{"path": "examples", "weight": 2}]}
    recipe = make_recipe(encoder_folder, train=train)
    train_in_processes(tmp_path / "whole", recipe, 2)
    train_in_processes(tmp_path / "run", recipe, 2, dies_at=4)
    checkpoints = tmp_path / "run" / "student" / ".stage" / "training" / "0-train"
    assert (checkpoints / "checkpoint-3" / "complete").exists()
    train_in_processes(tmp_path / "run", recipe, 2)
    whole, resumed = (tmp_path / name / "student" for name in ("whole", "run"))
    for name in ("model.safetensors", "training.json"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()


SPREAD = Path(__file__).parents[2] / "recipes" / "accelerate" / "fsdp.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("of", ["mini-batches", "lora"])
def test_model_spread_over_two_processes_gives_the_weights_of_one(tmp_path, of):
    encoder = without_dropout(make_tiny_encoder(tmp_path / "encoder"))
    train = {"epochs": 4, "learning_rate": 1e-3, "soup": 2, "validation": {"every": 1}}
    train |= {"infonce": {"cross_device": True}, "checkpoint_steps": 2}
    student = {"lora": {"rank": 4}} if of == "lora" else {}
    weights = []
    for processes, config in ((1, None), (2, SPREAD)):
        settings = train | {"batch_size": 4}
        if of == "mini-batches" and processes == 2:  # of which one process has more
            settings["mini_batch_tokens"] = 30
        recipe = make_recipe(encoder, train=settings, student=student)
        train_in_processes(tmp_path / str(processes), recipe, processes, config=config)
        weights.append(load_file(tmp_path / str(processes) / "student" / "model.safetensors"))
    base = load_file(tmp_path / "1" / "base" / "model.safetensors")
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], atol=2e-5), name
    assert any(not torch.allclose(weights[0][name], base[name], atol=1e-4) for name in base)


@pytest.mark.slow
def test_spread_model_resumes_where_it_was(tmp_path, encoder_folder):
    train = {"batch_size": 4, "epochs": 6, "learning_rate": 1e-3, "checkpoint_steps": 3}
    recipe = make_recipe(encoder_folder, train=train)
    train_in_processes(tmp_path / "whole", recipe, 2, config=SPREAD)
    train_in_processes(tmp_path / "run", recipe, 2, dies_at=4, config=SPREAD)
    checkpoint = tmp_path / "run" / "student/.stage/training/0-train/checkpoint-3"
    assert (checkpoint / "complete").exists()
    assert (checkpoint / "pytorch_model_fsdp_0").is_dir(), "a part of each process, no pickle"
    train_in_processes(tmp_path / "run", recipe, 2, config=SPREAD)
    whole, resumed = (tmp_path / name / "student" for name in ("whole", "run"))
    assert (whole / "training.json").read_bytes() == (resumed / "training.json").read_bytes()
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_auxiliary_parameters_are_refused_where_fsdp_spreads_the_model(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="learn_temperature"):
        check_sharded(Train(infonce={"learn_temperature": True}), with_projection=False)
    with pytest.raises(UserError, match="projection"):
        check_sharded(Train(objective={"align": 1.0}), with_projection=True)
    check_sharded(Train(objective={"align": 1.0}), with_projection=False)


@pytest.mark.slow
def test_command_trains_in_two_processes_and_the_first_one_speaks(tmp_path, recipe_file):
    run = str(tmp_path / "run")
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    relabelled = run_distill("relabel", str(recipe_file), "--run", run)
    assert relabelled.returncode == 0, relabelled.stderr
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--"]
    command = [*launch, "distill.cli", "train-student", str(recipe_file), "--run", run]
    told = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert told.stdout.count("a sentence-transformers model") == 1
    # One line at the end; before it others where ten seconds have passed.
    assert len(re.findall(r"training: .*, in ", told.stderr)) == 1
    assert SentenceTransformer(f"{run}/student").encode("tides follow the moon").shape == (32,)
