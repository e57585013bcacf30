"""The queries on which the student loses most against its teacher, with both rankings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distill.errors import UserError
from distill.evaluate.models.run_models import load_run_models
from distill.evaluate.stage import HELD_OUT, RESULTS_FOLDER
from distill.evaluate.summary import format_metric
from distill.files.atomic import read_json, write_json
from distill.files.read import user_path
from distill.recipe import Recipe, load_recipe
from distill.report.run_data import RunData
from distill.report.sections.rankings import query_texts, rankings
from distill.tasks import load_task, open_recipe_task
from distill.tasks.labelled import is_labelled_file, task_name

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

QUERIES = 10
_CATEGORIES = ("Retrieval", "Reranking")


class LostQuery(NamedTuple):
    task: str
    item: str
    student: float
    teacher: float


@dataclass(frozen=True)
class LostQueries:
    """`why` says what hinders where `queries` is empty."""

    queries: list[dict[str, Any]]
    why: str


def losses(found: RunData, may_write: bool = True) -> LostQueries:
    """The section. Rankings are searched once and kept in `RUN/report/losses.json`: while the
    evaluation is the same, no model is loaded again.

    Args:
        may_write: into the run's folder; else what is not kept there is said to be missing.
    """
    hindrance = _hindrance(found)
    if hindrance:
        return LostQueries([], hindrance)
    try:
        return LostQueries(_told(found, may_write), "")
    except UserError as fault:
        return LostQueries([], f"The rankings cannot be had: {fault.where} {fault.what}.")


def worst(items: Mapping[str, Mapping[str, Mapping[str, float]]], count: int) -> list[LostQuery]:
    """The items that the teacher does better on, the largest difference first.

    Args:
        items: task -> item -> role -> value.
    """
    lost = [
        LostQuery(task, item, values["student"], values["teacher"])
        for task, by_item in items.items()
        for item, values in by_item.items()
        if values.get("teacher", 0.0) > values.get("student", 0.0)
    ]
    return sorted(lost, key=lambda one: (one.student - one.teacher, one.task, one.item))[:count]


def _hindrance(found: RunData) -> str:
    if found.summary is None:
        return found.not_evaluated
    if "teacher" not in found.summary["models"]:
        return "The run is evaluated without a teacher."
    if not (_evaluation(found) / "items.json").is_file():
        return "The evaluation kept no values of single queries."
    return ""


def _evaluation(found: RunData) -> Path:
    return found.folder / "evaluation"


def _told(found: RunData, may_write: bool) -> list[dict[str, Any]]:
    mark = found.stages["evaluation"]["fingerprint"]
    path = found.folder / "report" / "losses.json"
    kept = _read_kept(path)
    if kept.get("evaluation") != mark:
        if not may_write:
            raise UserError(
                str(path),
                "does not hold them, and the run cannot be written now",
                "make the report again when no other process writes the run",
            )
        kept = {"evaluation": mark, "queries": _search(found)}
        path.parent.mkdir(exist_ok=True)
        write_json(path, kept)
    told: list[dict[str, Any]] = kept["queries"]
    return told


def _read_kept(path: Path) -> dict[str, Any]:
    """Nothing where the file is damaged: it is made again."""
    try:
        kept = read_json(path) if path.is_file() else {}
    except UserError:
        return {}
    return kept if isinstance(kept, dict) and isinstance(kept.get("queries"), list) else {}


def _readers(found: RunData, recipe: Recipe) -> "dict[str, Callable[[], AbsTask]]":
    """By task with rankings, what reads its data, where that is on this machine.

    Raises:
        UserError: if the data of none is on this machine.
    """
    assert found.summary is not None
    ranked = [t for t, of in found.summary["tasks"].items() if of["category"] in _CATEGORIES]
    data = recipe.evaluate.task_data
    folders = {task: Path(data) for task in ranked if data is not None}
    if HELD_OUT in ranked:
        folders[HELD_OUT] = found.folder
    files = {task_name(Path(n)): n for n in recipe.evaluate.tasks if is_labelled_file(n)}
    here: dict[str, Callable[[], AbsTask]] = {
        task: partial(open_recipe_task, recipe, files[task])
        for task in ranked
        if task in files and user_path(files[task]).is_file()
    }
    for task, folder in folders.items():
        if (folder / task).is_dir():
            here[task] = partial(load_task, task, folder)
    if not here:
        named = ", ".join(ranked) or "a task with rankings"
        raise UserError(f"the data of {named}", "is not in a folder here", "evaluate.task_data")
    return here


def _search(found: RunData) -> list[dict[str, Any]]:
    assert found.summary is not None
    recipe = load_recipe(found.folder / "recipe.yaml")
    readers = _readers(found, recipe)
    items = read_json(_evaluation(found) / "items.json")
    lost = worst({task: of for task, of in items.items() if task in readers}, QUERIES)
    if not lost:
        return []
    tasks = {name: readers[name]() for name in {one.task for one in lost}}
    for name, task in tasks.items():
        if task.metadata.revision != found.summary["tasks"][name]["revision"]:
            raise UserError(f"the data of {name}", "has changed since the evaluation", "restore it")
    models = load_run_models(recipe, {"student": found.folder / "student"})
    vectors = found.folder / RESULTS_FOLDER / "vectors"
    told = {}
    for name, task in tasks.items():
        keys = [one.item for one in lost if one.task == name]
        by_role = {role: rankings(of, task, keys, vectors) for role, of in models.items()}
        for item, text in query_texts(task, keys).items():
            both = {role: of[item] for role, of in by_role.items()}
            metric = format_metric(found.summary["tasks"][name]["metric"])
            told[name, item] = {"text": text, "metric": metric, "rankings": both}
    return [{**one._asdict(), **told[one.task, one.item]} for one in lost]
