"""Checks of what a recipe reads: its corpus, labelled sets and evaluation tasks."""

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from distill.corpus.held_out import OWN_TASKS
from distill.corpus.passages import open_source
from distill.corpus.readers.rows import Document
from distill.errors import UserError, need
from distill.files.read import looked_for, open_bytes, user_path
from distill.generate.log.stage import select_log_queries
from distill.recipe import Recipe
from distill.tasks.folder import LAYOUTS

_FIRST = 100
"""Rows or documents of a corpus that are looked at."""
_NO_TASKS = (
    "no evaluation task: the run ends with a student that is not measured. With questions and "
    "answers of your own: evaluate.tasks: [questions.csv]; see `distill explain evaluate.tasks`"
)


def check_corpus(recipe: Recipe) -> list[str]:
    """Open the corpus and read its first documents.

    Raises:
        UserError: if it cannot be read, or a column that the recipe names is missing.
    """
    corpus = recipe.corpus
    if not recipe.has_corpus:
        return []
    if corpus.source == "docstrings":
        return _check_packages(corpus.packages)
    if corpus.source == "dataset" or (corpus.path is None and corpus.dataset is not None):
        return [f"corpus: {corpus.dataset} is read from the Hugging Face hub when the run begins"]
    source = open_source(recipe)
    first = list(itertools.islice(source.read(), _FIRST))
    if first and not any(isinstance(document, Document) for document in first):
        raise UserError(
            source.where,
            f"none of the first {len(first)} documents has a text",
            "name the column or files with the text: corpus.text_column, corpus.path",
        )
    return []


def _check_packages(packages: list[str]) -> list[str]:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            "corpus.packages",
            f"not installed: {', '.join(missing)}",
            "install them, or name other packages",
        )
    return []


def check_labelled(recipe: Recipe) -> list[str]:
    """Look whether the files of `generate.labelled` are there, and read the log of queries.

    Raises:
        UserError: naming the first that is not, or what is wrong with the log.
    """
    if "log" in recipe.generate.methods:
        select_log_queries(recipe)
    if "labelled" in recipe.generate.methods:
        for labelled in recipe.generate.labelled:
            file = recipe.folder / labelled.path
            if not file.is_file():
                raise UserError(
                    str(file), f"no such file{looked_for(file)}", "fix generate.labelled"
                )
    return []


def list_task_checks(recipe: Recipe) -> Iterator[Callable[[], list[str]]]:
    """A check for each evaluation task that is a folder, and one for all others together."""
    evaluate = recipe.evaluate
    if not evaluate.names_tasks:
        yield lambda: [_NO_TASKS]
        return
    data = None if evaluate.task_data is None else user_path(evaluate.task_data)
    named = [name for name in evaluate.tasks if name not in OWN_TASKS]
    folders = {name: data / name for name in named if data is not None and (data / name).is_dir()}
    for folder in folders.values():
        yield lambda folder=folder: _check_folder(folder)  # type: ignore[misc]
    others = [name for name in named if name not in folders]
    if others or evaluate.benchmarks:
        yield lambda: _check_others(recipe, others)


def _check_folder(folder: Path) -> list[str]:
    """Check a folder of evaluation data.

    Raises:
        UserError: if the folder holds the files of no category of tasks, or an empty one.
    """
    layouts = [layout for layout in LAYOUTS.values() if layout.marks(folder)]
    if not layouts:
        known = "; ".join(layout.says for layout in LAYOUTS.values())
        raise UserError(str(folder), "holds the files of no kind of task", f"write one of: {known}")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open_bytes(file) as source:
            if not source.read(1):
                raise UserError(str(file), "is empty", "write the task's rows into it")
    return []


def _check_others(recipe: Recipe, names: list[str]) -> list[str]:
    """Read labelled files, and see that mteb knows all other names.

    Raises:
        UserError: if mteb is not installed, or a task is unknown or faulty.
    """
    need("mteb", "eval")
    from distill.tasks import open_recipe_tasks

    tasks = open_recipe_tasks(recipe, names)
    hub = [task.metadata.name for task in tasks if not task.data_loaded]
    return [f"evaluation: {', '.join(hub)}: read from the Hugging Face hub"] if hub else []
