"""Prepare a call of the API: settle the recipe and the run's folder, and open a job in it."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.api.devices import Step, check_devices
from distill.embed.vectors.other_run import take_vectors_from
from distill.errors import UserError
from distill.files.read import parse_path
from distill.object_store.mirror import open_mirror
from distill.recipe import Execution, Recipe
from distill.recipe import load_recipe as read_recipe
from distill.runtime.processes import is_main
from distill.runtime.run_log import log_to
from distill.store.run import Overwrite, Run

if TYPE_CHECKING:
    from distill.pipeline.job import Job
    from distill.start.choice.settle import SettledTest

_logger = logging.getLogger(__name__)
RecipeOrFile = Recipe | str | Path
"""A recipe, or the path of its file."""


def load_recipe(
    file: str | Path | None = None,
    settings: Mapping[str, Any] | Sequence[str] = (),
    folder: str | Path | None = None,
) -> Recipe:
    """Read a recipe, and check it.

    >>> recipe = load_recipe(settings={"name": "mine", "relabel.negative_count": 4})
    >>> recipe.relabel.negative_count
    4

    Args:
        file: the recipe's YAML file.
        settings: keys to set to other values, `{"a.b": value}`, or as `a.b=value` in YAML.
        folder: a run's folder, whose own recipe is read where no file is named. A run without one
            gets its name from the folder.

    Raises:
        UserError: naming the file, the row and the key, for anything that is not a valid recipe.
    """
    sets = [*settings] if not isinstance(settings, Mapping) else _write_yaml(settings)
    path = None if file is None else parse_path(fspath(file))
    if path is None and folder is not None and (Path(folder) / "recipe.yaml").is_file():
        path = Path(folder) / "recipe.yaml"
    if path is None and not any(item.startswith("name=") for item in sets):
        if folder is None:
            raise UserError(
                "command line",
                "neither a recipe nor a run is named",
                "give a RECIPE file, such as recipes/demo.yaml, or --run FOLDER",
            )
        sets = [f"name={Path(folder).resolve().name.lower()}", *sets]
    return read_recipe(path, sets)


def _write_yaml(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings as `a.b=value`: JSON is YAML."""
    return [
        f"{key}={json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in settings.items()
    ]


def settle(
    recipe: RecipeOrFile, folder: str | Path | None, *, fetches: bool = True, judges: bool = True
) -> tuple[Recipe, Path]:
    """Return the recipe, read where its file is named, and the run's folder: by default
    `artifacts/NAME`. Where the recipe names no evaluation task, what the run is measured on is
    chosen, unless the run has begun, and said.

    Args:
        fetches: whether a corpus that lies elsewhere may be fetched for that.
        judges: whether that may be a task which the LLM judges.
    """
    recipe, place = find_run(recipe, folder)
    test = settle_run_test(recipe, place, fetches=fetches, judges=judges)
    if test.said is not None and is_main():
        _logger.info("%s", test.said)
    return test.recipe, place


def find_run(recipe: RecipeOrFile, folder: str | Path | None) -> tuple[Recipe, Path]:
    """Return the recipe, as it is written, and the run's folder."""
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    return recipe, Path("artifacts") / recipe.name if folder is None else parse_path(fspath(folder))


def settle_run_test(
    recipe: Recipe, folder: Path, *, fetches: bool = True, judges: bool = True
) -> "SettledTest":
    """Settle what a run is measured on (see `settle_test`)."""
    from distill.start.choice.settle import settle_test

    return settle_test(recipe, folder, fetches=fetches, judges=judges)


@contextmanager
def open_job(
    recipe: Recipe, folder: Path, overwrite: Overwrite, last: Step = "evaluate"
) -> "Iterator[Job]":
    """Open a job that writes a run's stages.

    Args:
        last: the last step that will be done: this machine must have the devices that it takes.

    Raises:
        UserError: if a device is not there, or another process writes the run.
    """
    from distill.pipeline.job import Job

    check_devices(recipe, last)
    store = recipe.store if is_main() else None
    with (
        Run(folder, overwrite) as run,
        open_mirror(folder, store) as run.mirror,
        log_to(folder) if is_main() else nullcontext(),
    ):
        if is_main():
            take_vectors_from(folder / "vectors", recipe.retriever.vectors_from)
        job = Job(run, recipe)
        yield job
        # Not before: a recipe that was refused must not take the place of the one that was run.
        keep_recipe(job)


def keep_recipe(job: "Job") -> None:
    """Write the recipe that was run into the run's folder."""
    from distill.pipeline.recipe_copy import save_recipe

    if is_main():
        save_recipe(job.run.folder, job.recipe)


@contextmanager
def open_job_to_look(recipe: Recipe, folder: Path) -> "Iterator[Job]":
    """Open a job that redoes nothing, asks no cluster and leaves the run's own recipe as it is."""
    from distill.pipeline.job import Job

    here = recipe.model_copy(update={"execution": Execution()})
    with Run(folder) as run:
        yield Job(run, here)


@contextmanager
def show_whole_run(job: "Job") -> Iterator[None]:
    """Show, beside each stage's progress, where the whole run is and how long it still takes."""
    from distill.estimate.plan import plan_run
    from distill.models.sources.cache import get_cache_folder
    from distill.runtime.progress import follow_plan, show_activity
    from distill.runtime.run_plan import add_speeds

    if not is_main():
        yield
        return
    with show_activity("planning the run"):
        plan = plan_run(job.run, job.recipe, job.llm)
    with follow_plan(plan, lambda speeds: add_speeds(get_cache_folder(), speeds)):
        yield
