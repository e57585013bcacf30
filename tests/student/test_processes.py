"""Two processes train the student that one trains, and the first of them writes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from student.byhand import example_rows, make_recipe
from tiny import tiny_encoder

from distill.recipe import Recipe

pytestmark = pytest.mark.slow

_PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[3]]
from student.byhand import example_rows, write_inputs
from distill.recipe import Recipe
from distill.run import Run
from distill import processes
from distill.student.build import build_base
from distill.student.train import train_student
recipe = Recipe.model_validate_json(sys.argv[2])
rows = [row for row in example_rows() if row["negatives"]][:4]
run = Run(Path(sys.argv[1]))
processes.connect("cpu")
with processes.main_first():
    run.folder.mkdir(exist_ok=True)
    passages, examples = write_inputs(run, rows)
    base = build_base(run, recipe)
assert train_student(run, recipe, passages, [examples], base).complete
"""


def start(folder: Path, recipe: Recipe, processes: int) -> None:
    program = folder.with_suffix(".py")
    program.write_text(_PROGRAM)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, *launch, str(program), str(folder), recipe.model_dump_json(), tests]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


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
    encoder = without_dropout(tiny_encoder(folder / "encoder"))
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
        settings = train | {"batch_size": 4 // processes}
        recipe = make_recipe(encoder, teacher_folder, train=settings)
        start(folder / str(processes), recipe, processes)
    return {processes: folder / str(processes) / "student" for processes in (1, 2)}


def test_two_processes_give_the_weights_of_one(trained):
    one, two = (load_file(trained[n] / "model.safetensors") for n in (1, 2))
    base = load_file(trained[1].parent / "base" / "model.safetensors")
    for name, weight in one.items():
        assert torch.allclose(weight, two[name], atol=2e-5), name
    assert any(not torch.allclose(one[name], base[name], atol=1e-3) for name in one)


def test_they_take_as_many_steps_and_one_of_them_writes(trained):
    one, two = (json.loads((trained[n] / "training.json").read_text()) for n in (1, 2))
    assert one["stages"][0]["steps"] == two["stages"][0]["steps"] == 4
    assert one["stages"][0]["examples"] == len([r for r in example_rows() if r["negatives"]]) - 2
    assert [line["step"] for line in two["looks"]] == [0, 1, 2, 3, 4]
    assert {path.name for path in trained[1].iterdir()} == {p.name for p in trained[2].iterdir()}
    assert [path.name for path in (trained[2] / ".stage").iterdir()] == ["manifest.json"]
