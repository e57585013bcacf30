"""Stages in shares, for machines without Ray: the commands `distill run --shard` and `--finish`."""

from pathlib import Path

from distill.api.devices import check_devices
from distill.api.session import RecipeOrFile, open_job, settle
from distill.errors import UserError
from distill.recipe import Recipe
from distill.store.run import Overwrite, Run
from distill.workers.share_files import lock_share
from distill.workers.shares import SharesPause, ShareTaker, ShareWorkers, WorkShare


def compute_share(
    recipe: RecipeOrFile, folder: str | Path | None = None, *, number: int, count: int
) -> str:
    """Compute one of several shares of the stage that `finish_shares` has opened. Processes that do
    this know nothing of each other: they read the run's folder, and leave their results in it for
    `finish_shares`. One that was stopped continues where it was.

    Args:
        number: of the share, from 0.
        count: of all shares.

    Returns:
        What was done, in words.

    Raises:
        UserError: if the numbers are no share, another process writes the run, or this one is
            another version of the program.
    """
    from distill.pipeline.job import Job

    recipe, place = settle(recipe, folder)
    if not 0 <= number < count:
        raise UserError(
            f"--shard {number}/{count}",
            "is no share",
            f"number the shares of {count} from 0 to {count - 1}" if count > 0 else "such as 0/8",
        )
    _check_local(recipe)
    check_devices(recipe, "relabel")
    workers = ShareWorkers(place, WorkShare(number, count))
    with lock_share(place, number, count), Run(place, workers=workers) as run:
        try:
            Job(run, recipe).relabel()
        except SharesPause as pause:
            return str(pause)
    return "nothing is left that shares can compute"


def finish_shares(
    recipe: RecipeOrFile, folder: str | Path | None = None, overwrite: Overwrite = "never"
) -> str | None:
    """Take over what shares have computed, compute what is missing of it, and do what one process
    does, up to the next stage that shares can compute, which is opened for them.

    Returns:
        Which stage is open now, in words; None if all stages before training are done.

    Raises:
        UserError: for a recipe, a file or a model that cannot be used; if shares are at work still.
    """
    recipe, place = settle(recipe, folder)
    _check_local(recipe)
    with open_job(recipe, place, overwrite, "relabel") as job:
        job.run.use_workers(ShareTaker(place, True, recipe.execution.mixed_devices))
        try:
            job.relabel()
        except SharesPause as pause:
            return str(pause)
    return None


def _check_local(recipe: Recipe) -> None:
    if recipe.execution.mode != "local":
        raise UserError(
            f"execution {recipe.execution.mode}",
            "has workers of its own, and shares are for machines without them",
            "leave out --shard and --finish, or add --set execution=local",
        )
