"""The stage `evaluation`: base, student and teacher on the recipe's tasks."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UserError, need
from distill.evaluate.compare import Summary, compare
from distill.evaluate.contender import Contender, open_contender
from distill.evaluate.tasks import load_task
from distill.models import revision
from distill.recipe import Recipe
from distill.run import Run, Stage, read_json, write_json

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

HELD_OUT = "held-out"


def evaluate_run(
    run: Run, recipe: Recipe, base: Stage, student: Stage, held_out: Stage | None = None
) -> Stage:
    """Compare base, student and teacher, and write the verdict to `evaluation/summary.json` and
    to `summary.json` in the run's folder.

    mteb's results lie in `evaluation/results`. A model whose result on a task is there is not
    evaluated on it again.

    Raises:
        UserError: if the recipe names no task, or one that cannot be read.
    """
    tasks = tasks_of(recipe, held_out)
    teacher = recipe.teacher
    settings: dict[str, Any] = {
        "tasks": {task.metadata.name: task.metadata.revision for task in tasks},
        "mteb": need("mteb", "eval").__version__,
        "speed_texts": recipe.evaluate.speed_texts,
        "teacher": teacher.model and [teacher.model, revision(teacher.model), teacher.max_tokens],
    }
    inputs = [base, student, *([held_out] if held_out else [])]
    stage = run.stage("evaluation", settings, inputs)
    if not stage.complete:
        begun = time.perf_counter()
        summary = compare(
            _contenders(recipe, base, student),
            tasks,
            stage.folder,
            batch_size=recipe.evaluate.batch_size,
            speed_texts=recipe.evaluate.speed_texts,
            seed=recipe.seed,
        )
        write_json(stage.folder / "summary.json", summary)
        stage.finish(seconds=time.perf_counter() - begun, **_scalars(summary))
    write_json(run.folder / "summary.json", read_json(stage.folder / "summary.json"))
    return stage


def tasks_of(recipe: Recipe, held_out: Stage | None) -> "list[AbsTask]":
    """The recipe's tasks, opened.

    Raises:
        UserError: if it names none, or one that cannot be read.
    """
    if not recipe.evaluate.tasks:
        raise UserError(
            f"recipe {recipe.name}", "evaluate.tasks is empty", "--set 'evaluate.tasks=[SciFact]'"
        )
    return [_task(name, recipe, held_out) for name in recipe.evaluate.tasks]


def _task(name: str, recipe: Recipe, held_out: Stage | None) -> "AbsTask":
    if name == HELD_OUT:
        if held_out is None:
            raise UserError(
                f"task {HELD_OUT}", "this run holds nothing out", "set corpus.held_out above 0"
            )
        return load_task(held_out.folder.name, held_out.folder.parent)
    data = recipe.evaluate.task_data
    return load_task(name, Path(data) if data else None)


def _contenders(recipe: Recipe, base: Stage, student: Stage) -> dict[str, Contender]:
    device = recipe.train.device
    found = {
        "base": open_contender(base.folder, device=device),
        "student": open_contender(student.folder, device=device),
    }
    teacher = recipe.teacher
    if teacher.model is not None:
        found["teacher"] = open_contender(teacher.model, teacher.max_tokens, teacher.device)
    return found


def _scalars(summary: Summary) -> dict[str, float]:
    roles = ("base", "student", "teacher")
    figures = {f"ndcg_at_10_{r}": summary[r]["ndcg_at_10"] for r in roles if summary[r]}
    return figures | ({} if summary["kept"] is None else {"kept": summary["kept"]})
