"""The commands for a whole run, and those that show what a run or this machine has."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from distill import api
from distill.api.session import settle
from distill.cli.options.recipe import add_corpus_option, add_recipe_options
from distill.cli.options.values import PATH
from distill.cli.verdict import FAIL_IF, exit_on_verdict, print_summary
from distill.recipe import Recipe
from distill.recipe.reference import write_commented_recipe
from distill.store.run import Overwrite

_NOT_MEASURED = """\
The student was trained and not measured, for the recipe names no evaluation task, and no documents
of this run are held out for one. To measure it:
  with questions and answers of your own (CSV, JSONL, SQuAD ...): the same command with
    --set 'evaluate.tasks=[questions.csv]'
  without, in a run of its own (--run FOLDER) of some 200 documents or more: take corpus.held_out
    out of the recipe, if it is there, and documents are held out. In words it would be
    corpus.held_out: 0.1 and evaluate.tasks: [judged], with an LLM (section llm), or
    evaluate.tasks: [known-item] without one, which says less"""


class _ShareNumbers(click.ParamType):
    """One of several shares, as 0/8."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        number, _, count = str(value).partition("/")
        if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
            self.fail(f"{value!r} is no share: of eight they are 0/8 to 7/8.", param, ctx)
        return int(number), int(count)


@click.command()
@add_recipe_options
@add_corpus_option
@click.option(
    "--print-resolved", is_flag=True, help="Print every key of the recipe with its value and exit."
)
@FAIL_IF
@click.option(
    "--shard",
    "share",
    type=_ShareNumbers(),
    metavar="I/N",
    help="Compute the I-th of N shares, from 0, of the stage that --finish has opened, and exit.",
)
@click.option(
    "--finish",
    is_flag=True,
    help="Take over what shares have computed, and go on to the next stage for shares, or to "
    "training.",
)
def run(
    recipe: Recipe,
    folder: Path,
    overwrite: Overwrite,
    print_resolved: bool,
    fail_if: str | None,
    share: tuple[int, int] | None,
    finish: bool,
) -> None:
    """Run all stages of RECIPE, from the corpus to the trained student and its report.

    \b
    Example:  distill run recipes/demo.yaml
    Example:  distill run --corpus docs/    without a recipe: one is chosen and kept in the run
    A run that was stopped continues with the same command.
    """
    if print_resolved:
        click.echo(write_commented_recipe(settle(recipe, folder, fetches=False)[0]), nl=False)
        return
    if share is not None or finish:
        _run_in_shares(recipe, folder, overwrite, share, finish)
        return
    from distill.report.run_notes import list_notes_of_run

    done = api.run(recipe, folder, overwrite)
    is_measured = done.recipe.evaluate.names_tasks
    if is_measured:
        print_summary(done.summary, list_notes_of_run(folder, done.summary))
    else:
        click.echo(_NOT_MEASURED)
    click.echo(f"report: {folder / 'report.html'}\nthe same as text: {folder / 'report.md'}")
    click.echo(f"student: {folder / 'student'}")
    if is_measured:
        exit_on_verdict(done.summary, fail_if)


def _run_in_shares(
    recipe: Recipe,
    folder: Path,
    overwrite: Overwrite,
    share: tuple[int, int] | None,
    finish: bool,
) -> None:
    from distill.api.shares import compute_share, finish_shares

    if share is not None and finish:
        raise click.UsageError("--shard computes a share, and --finish takes shares over: give one")
    if share is not None:
        number, count = share
        click.echo(compute_share(recipe, folder, number=number, count=count))
        return
    opened = finish_shares(recipe, folder, overwrite)
    click.echo(
        opened or "all stages before training are done: the same command without --finish trains"
    )


@click.command()
@add_recipe_options
def ablate(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Train and evaluate the variants of RECIPE's section `ablation`, side by side.

    Prints each arm's score over the seeds, and its difference from the first arm with a 95 %
    confidence interval. On retrieval tasks BM25 and the hybrid of each arm with it stand below. The
    table is also written to RUN/ablation.md. All arms share one folder:
    a stage that differs between arms is moved to RUN/superseded and back, so --overwrite has no
    effect.

    \b
    Example:  distill ablate recipes/ablations/table3.yaml
    """
    from distill.pipeline.ablation import render

    arms = api.ablate(recipe, folder)
    Console().print(render(arms))
    click.echo(f"table: {folder / 'ablation.md'}")


@click.command()
@click.argument("folder", metavar="RUN", type=PATH)
@click.option("--out", type=PATH, help="File to write.  [default: RUN/report.html]")
def report(folder: Path, out: Path | None) -> None:
    """Render a run's results as one self-contained HTML report.

    The report holds the scores, training curves, dropped rows, relabelling statistics and
    versions. It needs no network and no other file.

    \b
    Example:  distill report artifacts/demo
    """
    click.echo(f"report: {api.report(folder, out)}")


@click.command()
@click.argument("folder", metavar="RUN", type=PATH)
@click.argument("table", required=False)
@click.option("--query", "query_id", help="Show the query with this id and all its candidates.")
@click.option(
    "--rows", default=3, show_default=True, type=click.IntRange(0), help="Number of rows to show."
)
@click.option("--skip", default=0, type=click.IntRange(0), help="Number of rows to skip first.")
def inspect(folder: Path, table: str | None, query_id: str | None, rows: int, skip: int) -> None:
    """Show a run's stages, rows of a TABLE, or one query with its candidates.

    \b
    distill inspect artifacts/demo                      stages and counts
    distill inspect artifacts/demo queries --rows 5     rows of a table
    distill inspect artifacts/demo queries/dropped      rows that a stage dropped, and why
    distill inspect artifacts/demo --query ID           candidates, scores and chosen passages
    """
    api.inspect(folder, table, query=query_id, rows=rows, skip=skip)


@click.command()
def doctor() -> None:
    """Check which packages, engines and devices can be used here, and what to install."""
    from distill.inspect.doctor import render_checks

    Console().print(render_checks(api.doctor()))
