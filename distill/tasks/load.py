"""Turn a name into a task of mteb: an official one, or a folder that is the user's own."""

import copy
import difflib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.corpus.held_out import OWN_TASKS
from distill.errors import UserError, need
from distill.files.read import describe_search, parse_path
from distill.recipe import Corpus, Evaluate
from distill.tasks.folder import LAYOUTS, fill, read_own_task
from distill.tasks.labelled import is_labelled_file, name_task
from distill.tasks.labelled_task import LabelledOptions, make_labelled_task, make_recipe_options

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


def load_task(
    name: str, task_data: Path | None = None, labelled: LabelledOptions | None = None
) -> "AbsTask":
    """Load the task called `name`, from the folder `task_data/name` if there is one, or from
    the labelled set in the file `name`.

    An official mteb task is evaluated on its own splits with its own metrics, from the hub or from
    the folder. A folder whose name is no mteb task is the user's own task: its files tell its
    category, and it is evaluated on the first of test, validation and dev that it has. A folder's
    task carries the hash of its files as dataset revision, so results of other data are never
    taken for its own.

    Args:
        labelled: how a file of a labelled set is read.

    Raises:
        UserError: for an unknown name, a task that is not text alone, an average over several
            tasks (`load_tasks` takes it for its parts), or a faulty folder.
    """
    if is_labelled_file(name):
        return make_labelled_task(parse_path(name), labelled or LabelledOptions())
    official = _list_official()
    if name in official:
        return _fill_from_folder(official[name](), task_data)
    folder = _find_folder(name, task_data)
    if folder is None:
        raise _explain_unknown(name, list(official), task_data)
    return read_own_task(name, folder)


def load_tasks(
    names: Sequence[str],
    benchmarks: Sequence[str] = (),
    task_data: Path | None = None,
    labelled: LabelledOptions | None = None,
) -> "list[AbsTask]":
    """Load the named tasks and those of mteb's benchmarks (`MTEB(eng, v2)`), each once, in that
    order.

    A benchmark's task is evaluated on the languages and splits that the benchmark chooses. A task
    that is an average over others stands for its parts. Each is filled from its folder in
    `task_data` where there is one.

    Raises:
        UserError: as `load_task`, for an unknown benchmark, and for a labelled set with the name of
            another one or of a task of mteb, whose published scores would be taken for its own.
    """
    files = [name_task(Path(name)) for name in names if is_labelled_file(name)]
    _check_names(files, names, _list_official())
    tasks: dict[str, AbsTask] = {}
    for task in _open_all(names, benchmarks, task_data, labelled):
        tasks.setdefault(task.metadata.name, task)
    return list(tasks.values())


def open_recipe_task(evaluate: Evaluate, corpus: Corpus | None, seed: int, name: str) -> "AbsTask":
    """Open one task of a recipe, with its data as `open_recipe_tasks` reads it.

    Raises:
        UserError: as `load_task`.
    """
    data = parse_path(evaluate.task_data) if evaluate.task_data else None
    return load_task(name, data, make_recipe_options(evaluate, corpus, seed))


def open_recipe_tasks(
    evaluate: Evaluate, corpus: Corpus | None, seed: int, names: Sequence[str]
) -> "list[AbsTask]":
    """Open these tasks and those of the recipe's benchmarks, with its folder of offline data, its
    columns of labelled sets, and its corpus for the ids in them.

    Args:
        corpus: None for a recipe without one.
        seed: of the recipe.

    Raises:
        UserError: as `load_tasks`, and for a labelled set with the name of a task that the run
            makes itself.
    """
    for name in names:
        if is_labelled_file(name) and name_task(Path(name)) in OWN_TASKS:
            raise _explain_taken_name(name_task(Path(name)), "a task that a run makes itself")
    data = parse_path(evaluate.task_data) if evaluate.task_data else None
    options = make_recipe_options(evaluate, corpus, seed)
    return load_tasks(names, evaluate.benchmarks, data, options)


def _check_names(files: Sequence[str], names: Sequence[str], official: Collection[str]) -> None:
    """Refuse two tasks of one name, whose results would be mixed up.

    Args:
        files: names of the tasks that are files.
        names: all tasks as they were named.
    """
    for name in files:
        if files.count(name) > 1 or name in names:
            raise UserError(
                f"task {name}", "is the name of two tasks", "rename one of the files or folders"
            )
        if name in official:
            raise _explain_taken_name(name, "a task of mteb")


def _explain_taken_name(name: str, owner: str) -> UserError:
    return UserError(f"task {name}", f"is the name of a file and of {owner}", "rename the file")


def _open_all(
    names: Sequence[str],
    benchmarks: Sequence[str],
    task_data: Path | None,
    labelled: LabelledOptions | None,
) -> "Iterator[AbsTask]":
    official = _list_official()
    for name in names:
        parts = getattr(official[name].metadata, "tasks", None) if name in official else None
        if parts is None:
            yield load_task(name, task_data, labelled)
        else:
            yield from _copy_tasks(parts, task_data)
    for benchmark in benchmarks:
        yield from _copy_tasks(_open_benchmark(benchmark), task_data)


def _copy_tasks(tasks: "Sequence[Any]", task_data: Path | None) -> "Iterator[AbsTask]":
    """Copy tasks before they are filled: mteb holds one object of each for the whole process."""
    for task in tasks:
        if task.is_aggregate:
            yield from _copy_tasks(task.metadata.tasks, task_data)
        else:
            yield _fill_from_folder(copy.deepcopy(task), task_data)


def _fill_from_folder(task: "AbsTask", task_data: Path | None) -> "AbsTask":
    _require_text(task)
    folder = _find_folder(task.metadata.name, task_data)
    return task if folder is None else fill(task, folder)


def _find_folder(name: str, task_data: Path | None) -> Path | None:
    folder = task_data / name if task_data is not None else None
    return folder if folder is not None and folder.is_dir() else None


def _list_official() -> "dict[str, type[AbsTask]]":
    return {task.metadata.name: task for task in need("mteb.get_tasks", "eval").TASK_LIST}


def _open_benchmark(name: str) -> "Sequence[AbsTask]":
    mteb = need("mteb", "eval")
    try:
        tasks: Sequence[AbsTask] = mteb.get_benchmark(name).tasks
    except KeyError:
        known = [benchmark.name for benchmark in mteb.get_benchmarks()]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UserError(
            f"benchmark {name}",
            "is no benchmark of mteb",
            f"did you mean {' or '.join(near)}?" if near else "for example 'MTEB(eng, v2)'",
        ) from None
    return tasks


def _require_text(task: "AbsTask") -> None:
    name, modalities = task.metadata.name, task.metadata.modalities
    if task.is_aggregate:
        parts: Any = task.metadata
        raise UserError(
            f"task {name}",
            "is an average over several tasks",
            f"name its parts: {', '.join(part.metadata.name for part in parts.tasks)}",
        )
    if modalities != ["text"]:
        raise UserError(
            f"task {name}",
            f"is a task over {', '.join(modalities)}; what is evaluated here reads text alone",
            "choose text tasks, for example SciFact, STSBenchmark or Banking77Classification",
        )


def _explain_unknown(name: str, official: list[str], task_data: Path | None) -> UserError:
    folders = []
    if task_data is not None and task_data.is_dir():
        folders = sorted(p.name for p in task_data.iterdir() if p.is_dir())
    known = sorted({*folders, *official})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if task_data is None:
        there = "no folder of tasks was given"
    elif not task_data.is_dir():
        there = f"{task_data} does not exist{describe_search(task_data)}"
    else:
        there = f"{task_data} holds {', '.join(folders) or 'no folder'}"
    layouts = "; ".join(layout.says for layout in LAYOUTS.values())
    return UserError(
        f"task {name}",
        f"is neither a task of mteb nor a folder or file of yours: {there}",
        f"did you mean {' or '.join(near)}?"
        if near
        else "give the name of an mteb task, or of a folder in the folder of tasks that holds "
        f"one of: {layouts}",
    )
