"""The queries on which the student is furthest behind its teacher, and furthest ahead of it, with
both rankings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distill.corpus.held_out import HELD_OUT, JUDGED, KNOWN_ITEM
from distill.errors import UserError
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.stage import RESULTS_FOLDER
from distill.evaluate.summary import format_metric
from distill.files.atomic import read_json, write_json
from distill.files.read import parse_path
from distill.recipe import Corpus, Evaluate, load_recipe
from distill.report.run_data import RunData
from distill.report.sections.rankings import find_query_texts, find_rankings
from distill.tasks import load_task, open_recipe_task
from distill.tasks.labelled import is_labelled_file, name_task

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

QUERIES = 10
_CATEGORIES = ("Retrieval", "Reranking")


class LostQuery(NamedTuple):
    """A query for which the student and the teacher differ, and both scores."""

    task: str
    item: str
    student: float
    teacher: float


@dataclass(frozen=True)
class LostQueries:
    """Those behind, and `gains` those ahead; `why` says what hinders where both are empty."""

    queries: list[dict[str, Any]]
    gains: list[dict[str, Any]]
    why: str


def find_lost_queries(run_data: RunData, may_write: bool = True) -> LostQueries:
    """Return the section. Rankings are searched once and kept in `RUN/report/losses.json`: while
    the evaluation is the same, no model is loaded again.

    Args:
        may_write: into the run's folder; else what is not kept there is said to be missing.
    """
    hindrance = _explain_absence(run_data)
    if hindrance:
        return LostQueries([], [], hindrance)
    try:
        rankings = _read_or_search(run_data, may_write)
        return LostQueries(rankings["queries"], rankings["gains"], "")
    except UserError as fault:
        return LostQueries([], [], f"The rankings are not available: {fault.where} {fault.what}.")


def list_worst(
    items: Mapping[str, Mapping[str, Mapping[str, float]]], count: int
) -> list[LostQuery]:
    """List the items that the teacher does better on, the largest difference first.

    Args:
        items: task -> item -> role -> value.
    """
    lost = [one for one in _compare_items(items) if one.teacher > one.student]
    return sorted(lost, key=lambda one: (one.student - one.teacher, one.task, one.item))[:count]


def list_best(
    items: Mapping[str, Mapping[str, Mapping[str, float]]], count: int
) -> list[LostQuery]:
    """List the items that the student does better on, the largest difference first."""
    won = [one for one in _compare_items(items) if one.student > one.teacher]
    return sorted(won, key=lambda one: (one.teacher - one.student, one.task, one.item))[:count]


def _compare_items(items: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[LostQuery]:
    return [
        LostQuery(task, item, values["student"], values["teacher"])
        for task, by_item in items.items()
        for item, values in by_item.items()
        if "student" in values and "teacher" in values
    ]


def _explain_absence(run_data: RunData) -> str:
    if run_data.summary is None:
        return run_data.not_evaluated
    if "teacher" not in run_data.summary["models"]:
        return "The run is evaluated without a teacher."
    if not (_get_evaluation_folder(run_data) / "items.json").is_file():
        return "The evaluation kept no values of single queries."
    return ""


def _get_evaluation_folder(run_data: RunData) -> Path:
    return run_data.folder / "evaluation"


def _read_or_search(run_data: RunData, may_write: bool) -> dict[str, Any]:
    mark = run_data.stages["evaluation"]["fingerprint"]
    path = run_data.folder / "report" / "losses.json"
    rankings = _read_stored(path)
    if rankings.get("evaluation") != mark:
        if not may_write:
            raise UserError(
                str(path),
                "does not hold them, and the run cannot be written now",
                "make the report again when no other process writes the run",
            )
        rankings = {"evaluation": mark, **_search(run_data)}
        path.parent.mkdir(exist_ok=True)
        write_json(path, rankings)
    return rankings


def _read_stored(path: Path) -> dict[str, Any]:
    """Read the rankings that a report has kept; nothing where the file is damaged, or older than
    gains, for then it is made again."""
    try:
        stored = read_json(path) if path.is_file() else {}
    except UserError:
        return {}
    if not isinstance(stored, dict):
        return {}
    return stored if all(isinstance(stored.get(key), list) for key in ("queries", "gains")) else {}


def _make_readers(
    run_data: RunData, evaluate: Evaluate, corpus: Corpus | None, seed: int
) -> "dict[str, Callable[[], AbsTask]]":
    """Return, by task with rankings, what reads its data, where that is on this machine.

    Raises:
        UserError: if the data of none is on this machine.
    """
    assert run_data.summary is not None
    ranked = [t for t, of in run_data.summary["tasks"].items() if of["category"] in _CATEGORIES]
    data = evaluate.task_data
    folders = {task: Path(data) for task in ranked if data is not None}
    folders |= {task: run_data.folder for task in (HELD_OUT, JUDGED, KNOWN_ITEM) if task in ranked}
    files = {name_task(Path(n)): n for n in evaluate.tasks if is_labelled_file(n)}
    here: dict[str, Callable[[], AbsTask]] = {
        task: partial(open_recipe_task, evaluate, corpus, seed, files[task])
        for task in ranked
        if task in files and parse_path(files[task]).is_file()
    }
    for task, folder in folders.items():
        if (folder / task).is_dir():
            here[task] = partial(load_task, task, folder)
    if not here:
        named = ", ".join(ranked) or "a task with rankings"
        raise UserError(f"the data of {named}", "is not in a folder here", "evaluate.task_data")
    return here


def _search(run_data: RunData) -> dict[str, list[dict[str, Any]]]:
    """Return what `losses.json` holds: `queries` that were lost, and `gains`."""
    assert run_data.summary is not None
    recipe = load_recipe(run_data.folder / "recipe.yaml")
    readers = _make_readers(run_data, recipe.evaluate, recipe.own_corpus, recipe.seed)
    items = read_json(_get_evaluation_folder(run_data) / "items.json")
    ranked = {task: of for task, of in items.items() if task in readers}
    chosen = {"queries": list_worst(ranked, QUERIES), "gains": list_best(ranked, QUERIES)}
    both = [one for ones in chosen.values() for one in ones]
    if not both:
        return {"queries": [], "gains": []}
    rankings = _search_items(run_data, RunModelSettings.select(recipe), readers, both)
    return {
        key: [{**one._asdict(), **rankings[one.task, one.item]} for one in ones]
        for key, ones in chosen.items()
    }


def _search_items(
    run_data: RunData,
    settings: RunModelSettings,
    readers: "Mapping[str, Callable[[], AbsTask]]",
    both: list[LostQuery],
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return, by task and item: the query's text, the metric, and the rankings by role."""
    assert run_data.summary is not None
    tasks = {name: readers[name]() for name in {one.task for one in both}}
    for name, task in tasks.items():
        if task.metadata.revision != run_data.summary["tasks"][name]["revision"]:
            raise UserError(f"the data of {name}", "has changed since the evaluation", "restore it")
    models = load_run_models(settings, {"student": run_data.folder / "student"})
    vectors = run_data.folder / RESULTS_FOLDER / "vectors"
    rankings = {}
    for name, task in tasks.items():
        keys = [one.item for one in both if one.task == name]
        by_role = {role: find_rankings(of, task, keys, vectors) for role, of in models.items()}
        metric = format_metric(run_data.summary["tasks"][name]["metric"])
        for item, text in find_query_texts(task, keys).items():
            ranked = {role: of[item] for role, of in by_role.items()}
            rankings[name, item] = {"text": text, "metric": metric, "rankings": ranked}
    return rankings
