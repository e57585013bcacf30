"""What commands do around the stages: open a job, and tell what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distill.errors import UserError
from distill.recipe import Recipe
from distill.runtime.processes import is_main
from distill.runtime.run_log import log_to
from distill.store.run import Overwrite, Run, Stage

if TYPE_CHECKING:
    from distill.pipeline.job import Job


@contextmanager
def look(recipe: Recipe, folder: Path) -> "Iterator[Job]":
    """A job that makes nothing anew and leaves the run's own recipe as it is."""
    from distill.pipeline.job import Job

    with Run(folder) as run:
        yield Job(run, recipe)


@contextmanager
def open_job(
    recipe: Recipe, folder: Path, overwrite: Overwrite, computes: bool = True
) -> "Iterator[Job]":
    """A job; with `computes`, one that needs the recipe's devices."""
    from distill.pipeline.job import Job
    from distill.pipeline.recipe_copy import save_recipe

    if computes:
        check_devices(recipe)

    with Run(folder, overwrite) as run, log_to(folder) if is_main() else nullcontext():
        yield Job(run, recipe)
        # Not before: a recipe that was refused must not take the place of the one that was run.
        if is_main():
            save_recipe(folder, recipe)


def show_whole_run(job: "Job") -> None:
    """Show beside each stage's progress where the whole run is and how long it still takes."""
    from distill.estimate.plan import plan_run
    from distill.models.reference import cache_folder
    from distill.runtime.progress import follow_plan
    from distill.runtime.run_plan import add_speeds

    if is_main():
        plan = plan_run(job.run, job.recipe, job.llm)
        follow_plan(plan, lambda speeds: add_speeds(cache_folder(), speeds))


def check_devices(recipe: Recipe) -> None:
    """Before an LLM is paid for: whether this machine has the devices that the recipe names.

    Raises:
        UserError: naming the key, and the devices that are there.
    """
    from distill.runtime.devices import check_device

    llm, retriever, teacher = recipe.llm, recipe.retriever, recipe.teacher
    if llm.engine != "http":
        check_device(llm.device, "llm.device")
    if retriever.base_url is None or recipe.relabel.cross_encoder is not None:
        check_device(retriever.device, "retriever.device")
    if teacher.model is not None and teacher.base_url is None:
        check_device(teacher.device, "teacher.device")
    check_device(recipe.train.device, "train.device")


def done(folder: Path, stage: Any) -> None:
    manifest = stage.manifest
    counts = ", ".join(f"{name} {n}" for name, n in manifest["counts"].items())
    click.echo(f"{folder / stage.name}: {manifest['rows']} rows ({counts or 'nothing left out'})")


def passages_of(job: "Job") -> Stage:
    passages = job.corpus().passages
    if passages is None:
        raise UserError(f"recipe {job.recipe.name}", "names no corpus", "set corpus.path")
    return passages
