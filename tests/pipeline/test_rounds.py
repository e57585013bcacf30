"""Two rounds: the first one's student retrieves for the second."""

import os
import shutil
from pathlib import Path

import pytest

from distill.errors import UserError
from distill.files.atomic import read_json
from distill.models.reference import identify_revision
from distill.pipeline.job import Job
from distill.recipe import load_recipe
from distill.store.run import Run
from distill.store.stage import open_stage
from distill.store.tables import EXAMPLES


@pytest.fixture(scope="module")
def run(recipe_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "rounds"
    with Run(folder) as run:
        Job(run, recipe(recipe_file)).relabel()
    return folder


def recipe(file):
    return load_recipe(file, ["relabel.rounds=2", "relabel.rankers=[ql, retriever]"])


def manifest(folder, stage):
    return read_json(folder / stage / ".stage" / "manifest.json")


def test_first_rounds_student_retrieves_for_the_second(run):
    assert manifest(run, "round-1/student")["complete"]
    student = identify_revision(str(run / "round-1" / "student"))
    assert manifest(run, "candidates")["settings"]["revision"] == student
    assert manifest(run, "round-1/candidates")["settings"]["revision"] != student
    assert open_stage(run / "examples").complete


def test_second_round_judges_only_what_the_first_has_not(run):
    counts = manifest(run, "judgements-ql")["counts"]
    assert 0 < counts["judged before"] < counts["pairs"]


def test_run_of_rounds_continues_where_it_was(run, recipe_file):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")}
    with Run(run) as again:
        Job(again, recipe(recipe_file)).relabel()
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")} == before


@pytest.mark.bad_input("runs", "a complete run that was moved or is named relatively", "continues")
@pytest.mark.parametrize("relative", [False, True])
def test_run_of_rounds_that_was_moved_continues(run, recipe_file, tmp_path, relative):
    shutil.copytree(run, tmp_path / "moved", symlinks=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "moved").rglob("*.parquet")}
    folder = tmp_path / "moved"
    if relative:
        folder = Path(os.path.relpath(folder))
    with Run(folder) as again:
        Job(again, recipe(recipe_file)).relabel()
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "moved").rglob("*.parquet")}
    assert after == before


def test_first_round_of_seeds_judges_nothing(recipe_file, tmp_path):
    """Gecko's initial embedder learns each query with the passage that it was written from."""
    options = ["relabel.rounds=2", "relabel.first_round=seed", "relabel.rankers=[ql, retriever]"]
    options.append("student.query_template='task: {task} | query: {query}'")
    with Run(tmp_path / "run") as run:
        Job(run, load_recipe(recipe_file, options)).relabel()
    first = tmp_path / "run" / "round-1"
    assert not list(first.glob("judgements-*"))
    rows = open_stage(first / "examples").read_rows(EXAMPLES)
    assert all(row["positive_id"] == row["seed_id"] and not row["negatives"] for row in rows)
    assert manifest(tmp_path / "run", "judgements-ql")["complete"]


@pytest.mark.bad_input(
    "recipe", "a first round of seeds without a second", "refused, naming the key"
)
def test_first_round_needs_a_second(recipe_file):
    with pytest.raises(UserError, match=r"relabel\.rounds: 2"):
        load_recipe(recipe_file, ["relabel.first_round=seed"])
    soft = ["relabel.first_round=seed", "relabel.rounds=2", "train.objective={kl: 1.0}"]
    with pytest.raises(UserError, match="judges nothing"):
        load_recipe(recipe_file, [*soft, "train.kl={scores: rrf}"])
