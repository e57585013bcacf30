"""`distill evaluate` and `distill compare`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from distill import api
from distill.cli.options.tasks import TaskOptions, add_task_options
from distill.cli.options.values import split_list
from distill.cli.verdict import FAIL_IF, exit_on_verdict, print_summary
from distill.errors import UserError
from distill.recipe.sections.retriever import Language

if TYPE_CHECKING:
    from distill.evaluate.models.quantize import Precision
    from distill.evaluate.score import TaskScore


@click.command()
@click.argument("model")
@add_task_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def evaluate(model: str, options: TaskOptions, as_json: bool) -> None:
    """Evaluate MODEL on tasks, with mteb's own classes and metrics.

    MODEL is a hub id, a folder (such as RUN/student), a file of an export (such as
    exports/mine/onnx/embedding_int8.onnx) or wheel:...; its own prompts are used. With
    --base-url it is the name of a model on a server. A line a task: category, metric, score, its
    95 % confidence interval over the task's queries or texts, and their number; of retrieval also
    recall, MRR and MAP.

    \b
    Example:  distill evaluate artifacts/demo/student --tasks SciFact
    """
    from distill.evaluate.summary import format_metric

    scores = api.evaluate(
        model,
        options.tasks,
        benchmarks=options.benchmarks,
        task_data=options.task_data,
        columns=options.columns,
        corpus=options.corpus,
        out=options.out,
        embedder=options.embedder,
        instructions=options.instructions,
        prompts=options.prompts,
        force_prompts=options.force_prompts,
    )
    if as_json:
        click.echo(json.dumps(_describe_scores(model, scores, options.out), ensure_ascii=False))
        return
    for score in scores:
        metric = format_metric(score.metric)
        sure = "{:.4f} to {:.4f}".format(*score.interval) if score.interval else "no interval"
        items = "-" if score.items is None else f"n = {score.items}"
        cells = [score.task, score.category, metric, f"{score.score:.4f}", sure, items]
        beside = {name: value for name, value in score.measures.items() if name != score.metric}
        cells += [f"{format_metric(name)} {value:.4f}" for name, value in beside.items()]
        click.echo("\t".join(cells))
    click.echo(f"results: {options.out / 'results'}")


def _describe_scores(model: str, scores: "Sequence[TaskScore]", out: Path) -> dict[str, Any]:
    """Return what `evaluate --json` prints; `low`, `high` and `items` are null where there are no
    values of single items, and `measures` is empty but of retrieval."""
    rows = []
    for score in scores:
        low, high = score.interval or (None, None)
        rows.append(
            {
                "task": score.task,
                "category": score.category,
                "metric": score.metric,
                "score": score.score,
                "low": None if low is None else round(low, 6),
                "high": None if high is None else round(high, 6),
                "items": score.items,
                "measures": score.measures,
            }
        )
    return {"model": model, "tasks": rows, "results": str(out / "results")}


@click.command()
@click.argument("student")
@click.argument("teacher")
@click.argument("bases", nargs=-1, metavar="[BASE]...")
@add_task_options
@click.option(
    "--widths", default="", help="Also cut the student's vectors to these dimensions: 256,128."
)
@click.option("--precisions", default="", help="Also quantize the student's vectors: int8,binary.")
@click.option(
    "--asymmetric",
    is_flag=True,
    help="Also search the teacher's document vectors with the student's queries.",
)
@click.option(
    "--published",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Published results in mteb's format: a file of one task, or a folder of files.  "
    "[repeatable]",
)
@click.option(
    "--accept-versions",
    is_flag=True,
    help="Accept published results of another version of mteb.",
)
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of tables.")
@click.option("--no-baselines", is_flag=True, help="Leave out the rows of BM25 and its hybrids.")
@click.option(
    "--bm25-language",
    type=click.Choice(get_args(Language)),
    metavar="LANGUAGE",
    help="Compare word stems of this language in BM25, on tasks whose language mteb does not "
    "state, such as your own: english, german, ...",
)
@click.option(
    "--margin",
    default=0.01,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Difference of scores that does not matter: models within it are level.",
)
@click.option("--no-speed", is_flag=True, help="Do not measure speed.")
@FAIL_IF
def compare(
    student: str,
    teacher: str,
    bases: tuple[str, ...],
    options: TaskOptions,
    widths: str,
    precisions: str,
    asymmetric: bool,
    published: tuple[Path, ...],
    accept_versions: bool,
    as_json: bool,
    no_baselines: bool,
    bm25_language: Language | None,
    margin: float,
    no_speed: bool,
    fail_if: str | None,
) -> None:
    """Compare STUDENT with TEACHER, and with any BASE models, on the same tasks.

    Prints a verdict and what to ship, the scores, the student's differences (95 % confidence
    interval, p-value, items won, tied and lost), the share of the teacher's score, size, speed and
    index size, and writes them to OUT/summary.json. Speed is measured on the same texts, with the
    models taking turns. Retrieval tasks have rows for BM25, and for base, student and teacher
    fused with BM25.

    \b
    Example:  distill compare runs/mine/student BAAI/bge-large-en-v1.5 runs/mine/base \\
                --tasks mine --task-data my_eval/ --widths 128 --precisions int8
    """
    summary = api.compare(
        student,
        teacher,
        bases,
        tasks=options.tasks,
        benchmarks=options.benchmarks,
        task_data=options.task_data,
        columns=options.columns,
        corpus=options.corpus,
        out=options.out,
        widths=_parse_widths(widths),
        precisions=_parse_precisions(precisions),
        asymmetric=asymmetric,
        published=published,
        accept_versions=accept_versions,
        teacher_settings=options.embedder,
        student_settings=options.student,
        instructions=options.instructions,
        prompts=options.prompts,
        force_prompts=options.force_prompts,
        baselines=not no_baselines,
        bm25_language=bm25_language,
        margin=margin,
        speed_texts=0 if no_speed else 256,
    )
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False))
        exit_on_verdict(summary, fail_if)
        return
    print_summary(summary)
    click.echo(f"summary: {options.out / 'summary.json'}")
    exit_on_verdict(summary, fail_if)


def _parse_widths(text: str) -> list[int]:
    words = split_list(text)
    if not all(re.fullmatch("0*[1-9][0-9]{0,5}", word) for word in words):
        raise UserError(f"--widths {text}", "is no list of widths", "give such as 256,128")
    return [int(word) for word in words]


def _parse_precisions(text: str) -> "list[Precision]":
    known: dict[str, Precision] = {"int8": "int8", "binary": "binary"}
    words = split_list(text)
    for word in words:
        if word not in known:
            remedy = f"choose from {','.join(known)}"
            raise UserError(f"--precisions {text}", f"{word} is not known", remedy)
    return [known[word] for word in words]
