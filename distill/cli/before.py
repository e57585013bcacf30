"""`distill init` and `distill check`: what comes before a run."""

from pathlib import Path

import click

from distill import api
from distill.cli.options.recipe import add_recipe_options
from distill.cli.options.values import CORPUS_PATH, PATH
from distill.recipe import Recipe
from distill.store.run import Overwrite


@click.command()
@add_recipe_options
@click.pass_context
def check(context: click.Context, recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Check RECIPE in seconds before anything is spent: files, models, servers, prompts, disk.

    All faults are listed at once, each with its remedy, and the exit code is then 2. No model is
    loaded and nothing is written. `distill run` and `distill estimate` check the same first.

    \b
    Example:  distill check mine.yaml
    """
    from distill.start.checks.models import describe_learning

    result = api.check(recipe, folder)
    click.echo(describe_learning(recipe))
    for notice in result.notices:
        click.echo(f"note: {notice}")
    for fault in result.faults:
        click.echo(f"fault: {fault}")
    if result.faults:
        context.exit(2)
    click.echo(f"recipe {recipe.name}: nothing was found that would end a run")


@click.command()
@click.argument("corpus", metavar="CORPUS", type=CORPUS_PATH)
@click.option("--out", type=PATH, help="File to write.  [default: NAME.yaml in this folder]")
@click.option("--name", help="Name of the run.  [default: made from the corpus' path]")
@click.option("--overwrite", is_flag=True, help="Overwrite a file that exists.")
def init(corpus: Path | str, out: Path | None, name: str | None, overwrite: bool) -> None:
    """Write a first recipe for CORPUS, a file or folder of texts or rows, or its address in an
    object store (s3://BUCKET/PREFIX).

    Looks at the texts (form, amount, language), at this machine, and at the models that are served,
    cached or installed; each key of the recipe says why it is there. No model is loaded. A server
    of LLMs or embedding models is found on its usual port of this machine, or in OPENAI_BASE_URL;
    an embedding model is asked to embed one word.

    \b
    Example:  distill init docs/ && distill check docs.yaml && distill run docs.yaml
    """
    from distill.start.describe import describe_proposal

    file, proposal = api.init(corpus, out, name=name, overwrite=overwrite)
    for line in describe_proposal(proposal):
        click.echo(line)
    click.echo(f"recipe:  {file}\n\nnext:\n  distill check {file}\n  distill run {file}")
    if proposal.is_judged:
        run = Path("artifacts") / proposal.name
        click.echo(f"  distill judge {run}   # fifty pairs by yourself: how far the LLM is right")
