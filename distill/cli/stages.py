"""The commands of one stage each, from the corpus to the student."""

import json
from pathlib import Path

import click
from rich.console import Console

from distill import api
from distill.cli.options.recipe import add_estimate_options, add_recipe_flag, add_recipe_options
from distill.recipe import Recipe
from distill.runtime.processes import is_main
from distill.store.integrity import order_counts
from distill.store.run import Overwrite


def _print_stages(run: api.RunFolder) -> None:
    """Print a line for each stage: its folder, its rows, and what was counted."""
    for stage in run.stages:
        manifest = stage.manifest
        counts = order_counts(manifest["counts"])
        read = counts.pop("read", None)
        if counts.get("kept") == manifest["rows"]:
            del counts["kept"]
        came_of = "" if read is None else f" from {read} documents"
        said = ", ".join(f"{name} {n}" for name, n in counts.items()) or "nothing dropped"
        click.echo(f"{run.folder / stage.name}: {manifest['rows']} rows{came_of} ({said})")


@click.command()
@add_recipe_options
@add_recipe_flag(
    "--source",
    "corpus.source",
    "auto (whatever lies at the path), beir, jsonl, parquet, dataset or docstrings.  [default: "
    "the recipe's, or auto where --path stands alone]",
)
@add_recipe_flag("--path", "corpus.path", "File or folder to read.")
def corpus(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Read a corpus into passages: split long texts, drop duplicates and fragments.

    \b
    Example:  distill corpus --run runs/mine --path docs/
    """
    _print_stages(api.read_corpus(recipe, folder, overwrite))


@click.command()
@add_recipe_options
@add_recipe_flag(
    "--llm", "llm.model", "Language model: a hub id, a folder, a GGUF file or wheel:..."
)
@add_recipe_flag(
    "--passages", "generate.passages", "Number of passages to write queries for.", click.IntRange(1)
)
@click.option(
    "--show-prompt",
    "row",
    type=click.IntRange(0),
    metavar="ROW",
    help="Print one prompt as the LLM gets it and exit; ROW counts from 0.",
)
@click.option("--dry-run", is_flag=True, help="Estimate tokens, time and cost; generate nothing.")
@add_estimate_options
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

    The corpus is read first if needed. The LLM's output is kept unchanged in `generations`, the
    queries read from it in `parsed`, and those that pass the filters in `queries`. On Ctrl-C the
    shards in progress are finished; the same command continues.
    """
    if dry_run:
        _print_estimate(recipe, folder, sample, prices_file)
    elif row is not None:
        api.show_prompt(recipe, row, folder)
    else:
        _print_stages(api.generate(recipe, folder, overwrite))


@click.command()
@add_recipe_options
@add_estimate_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def estimate(
    recipe: Recipe,
    folder: Path,
    overwrite: Overwrite,
    prices_file: Path | None,
    sample: int,
    as_json: bool,
) -> None:
    """Estimate the tokens, time and cost of each stage of RECIPE before running it.

    Reads the corpus into the run's folder, which it creates where there is none, and from which the
    run continues. The folder also keeps what a server replies to the sample of prompts.

    \b
    Example:  distill estimate mine.yaml --prices prices.yaml
    """
    _print_estimate(recipe, folder, sample, prices_file, as_json)


def _print_estimate(
    recipe: Recipe, folder: Path, sample: int, prices_file: Path | None, as_json: bool = False
) -> None:
    from distill.estimate import render

    result = api.estimate(recipe, folder, sample, prices_file)
    if as_json:
        click.echo(json.dumps(render.to_json(result), indent=2))
    else:
        Console().print(render.render(result))


@click.command()
@add_recipe_options
@add_recipe_flag("--retriever", "retriever.model", "Embedding model that retrieves candidates.")
@add_recipe_flag("--llm", "llm.model", "Language model that judges them.")
def relabel(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Retrieve candidates for each query, have the LLM judge them, choose positive and negatives.

    Earlier stages run first if needed. Writes the tables candidates, judgements, labels and
    examples; any Parquet reader opens them.
    """
    _print_stages(api.relabel(recipe, folder, overwrite))


@click.command("train-judge")
@add_recipe_options
@add_recipe_flag("--encoder", "judge.encoder", "Encoder that the judge is made from.")
@add_recipe_flag("--llm", "llm.model", "Language model that teaches it.")
def train_judge(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Train a small reranker on the judgements; load it with CrossEncoder("RUN/judge").

    Earlier stages run first if needed. It learns what judge.rankers say of the candidates, is
    compared as a reranker with the retriever's order on the recipe's retrieval tasks, and can rank
    wide lists in the LLM's place (relabel.cross_encoder: judge). A training that was killed
    continues at its last checkpoint.
    """
    run = api.train_judge(recipe, folder, overwrite)
    from distill.evaluate.judge_summary import describe_judge

    click.echo(f"{run.folder / 'judge'}: a sentence-transformers CrossEncoder")
    for line in describe_judge(run.folder):
        click.echo(line)


@click.command("score-teacher")
@add_recipe_options
@add_recipe_flag("--teacher", "teacher.model", "Large embedding model that scores the examples.")
def score_teacher(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Score each example's positive and negatives against its query with the teacher.

    Earlier stages run first if needed. Writes cosine similarities to `teacher-scores`, one shard
    for each shard of examples; the vectors stay in `vectors`. Several teachers:
    teacher.additional_models, teacher.combine.
    """
    _print_stages(api.score_teacher(recipe, folder, overwrite))


@click.command("train-student")
@add_recipe_options
@add_recipe_flag("--encoder", "student.encoder", "Encoder that the student starts from.")
@add_recipe_flag("--teacher", "teacher.model", "Embedding model whose vectors the student learns.")
def train_student(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Train the student on the examples; load it with SentenceTransformer("RUN/student").

    Earlier stages run first if needed. A training that was killed continues at its last
    checkpoint.
    """
    run = api.train_student(recipe, folder, overwrite)
    if is_main():
        click.echo(f"{run.folder / 'student'}: a sentence-transformers model")
