"""An evaluation task that is added to a finished run, or taken out of it."""

import json
from pathlib import Path

import pytest

from distill.pipeline.job import Job
from distill.recipe import Recipe, load_recipe
from distill.store.run import Run


def write_task(folder: Path, corpus: Path, query: str) -> None:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_bytes(corpus.read_bytes())
    rows = [{"_id": f"q{n}", "text": f"{query} number {n}"} for n in range(3)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    judged = "".join(f"q{n}\tp{n}\t1\n" for n in range(3))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)


def state(folder: Path) -> dict[str, int]:
    """When each file of the stages up to the student was last written."""
    files = [*folder.glob("*/*.parquet"), *folder.glob("student/*.safetensors")]
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in files}


@pytest.fixture
def recipe(recipe_file: Path, tmp_path: Path) -> Recipe:
    for name in ("first", "second"):
        write_task(tmp_path / name, recipe_file.parent / "corpus.jsonl", f"zorble the {name} quux")
    recipe = load_recipe(recipe_file)
    recipe.generate.filters.decontaminate = None
    recipe.evaluate.task_data, recipe.evaluate.speed_texts = str(tmp_path), 8
    return recipe


@pytest.mark.slow
def test_added_task_makes_nothing_anew_but_the_evaluation(recipe: Recipe, tmp_path: Path) -> None:
    states, scores = [], []
    for tasks in ([], ["first"], ["first", "second"], ["second"]):
        recipe.evaluate.tasks = tasks
        with Run(tmp_path / "run") as run:
            job = Job(run, recipe)
            _ = job.evaluate() if tasks else job.train_student()
        states.append(state(tmp_path / "run"))
        if tasks:
            summary = json.loads((tmp_path / "run" / "summary.json").read_text())
            scores.append(sorted(summary["models"]["student"]["tasks"]))
    assert all(one == states[0] for one in states)
    assert scores == [["first"], ["first", "second"], ["second"]]
