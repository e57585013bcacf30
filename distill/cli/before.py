"""`distill check`: what comes before a run."""

from pathlib import Path

import click

from distill import api
from distill.cli.options import recipe_options
from distill.recipe import Recipe
from distill.store.run import Overwrite


@click.command()
@recipe_options
@click.pass_context
def check(context: click.Context, recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Check RECIPE in seconds before anything is spent: files, models, servers, prompts, disk.

    All faults are listed at once, each with its remedy, and the exit code is then 2. No model is
    loaded and nothing is written. `distill run` and `distill estimate` check the same first.

    \b
    Example:  distill check mine.yaml
    """
    result = api.check(recipe, folder)
    for notice in result.notices:
        click.echo(f"note: {notice}")
    for fault in result.faults:
        click.echo(f"fault: {fault}")
    if result.faults:
        context.exit(2)
    click.echo(f"recipe {recipe.name}: nothing was found that would end a run")
