"""The commands that do everything, and those that look at what is there."""

from pathlib import Path

import click
from rich.console import Console

from distill.cli.jobs import check_devices, open_job, show_whole_run
from distill.cli.options import PATH, recipe_options
from distill.recipe import Recipe, dump_recipe
from distill.store.run import Overwrite


@click.command()
@recipe_options
@click.option("--print-resolved", is_flag=True, help="Print every key with its value; run nothing.")
def run(recipe: Recipe, folder: Path, overwrite: Overwrite, print_resolved: bool) -> None:
    """Do everything that RECIPE says: corpus in, student and report out.

    \b
    Example:  distill run recipes/demo.yaml
    The same command continues a run that was stopped.
    """
    if print_resolved:
        click.echo(dump_recipe(recipe), nl=False)
        return
    from distill.evaluate.summary import read_summary
    from distill.report.html import write_html
    from distill.report.markdown.report import write_report
    from distill.report.score_tables import render
    from distill.report.verdict import sentence

    with open_job(recipe, folder, overwrite) as job:
        show_whole_run(job)
        job.evaluate()
    # The report reads the run's own recipe, which is this one from here on.
    text, page = write_report(folder), write_html(folder)
    summary = read_summary(folder / "summary.json")
    console = Console()
    console.print(render(summary))
    console.print(sentence(summary), markup=False, highlight=False)
    click.echo(f"report: {page}\nthe same as text: {text}\nstudent: {folder / 'student'}")


@click.command()
@recipe_options
def ablate(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Train and evaluate the variants that RECIPE's section `ablation` names, side by side.

    Prints each arm's nDCG@10 over the seeds and its difference from the first arm with a 95 %
    interval, and writes the table to RUN/ablation.md. All arms share one run's folder: stages that
    differ are set aside and come back by themselves, so --overwrite is not asked for.

    \b
    Example:  distill ablate recipes/ablations/table3.yaml
    """
    from distill.pipeline.ablation import ablate as compare_arms
    from distill.pipeline.ablation import render, write_ablation

    check_devices(recipe)
    arms = compare_arms(folder, recipe)
    written = write_ablation(folder, arms)
    Console().print(render(arms))
    click.echo(f"table: {written}")


@click.command()
@click.argument("folder", metavar="RUN", type=PATH)
@click.argument("table", required=False)
@click.option("--query", "query_id", help="A query's id: shows it with all its candidates.")
@click.option("--rows", default=3, show_default=True, type=click.IntRange(0), help="How many rows.")
@click.option(
    "--skip", default=0, type=click.IntRange(0), help="How many rows are passed over first."
)
def inspect(folder: Path, table: str | None, query_id: str | None, rows: int, skip: int) -> None:
    """Look into a run: its stages, rows of a TABLE, or one query with its candidates.

    \b
    distill inspect artifacts/demo                      stages and counts
    distill inspect artifacts/demo queries --rows 5     rows of a table
    distill inspect artifacts/demo queries/dropped      what a stage left out, and why
    distill inspect artifacts/demo --query ID           candidates, scores, what was chosen
    """
    from distill.inspect.tables import show_query, show_rows, show_run

    console = Console()
    if query_id is not None:
        show_query(folder, query_id, console)
    elif table is not None:
        show_rows(folder, table, rows, skip, console)
    else:
        show_run(folder, console)


@click.command()
def doctor() -> None:
    """Say what is installed, which engines and devices can be used, and what to install."""
    from distill.inspect.doctor import render, report

    Console().print(render(report()))
