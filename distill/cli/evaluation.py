"""`distill evaluate` and `distill compare`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from distill.cli.options import TaskOptions, listed, task_options
from distill.errors import UserError

if TYPE_CHECKING:
    from distill.evaluate.model import EvalModel
    from distill.evaluate.quantize import Precision


@click.command()
@click.argument("model")
@task_options
def evaluate(model: str, asked: TaskOptions) -> None:
    """Evaluate MODEL on tasks, with mteb's own classes and metrics.

    MODEL is a hub id, a folder (RUN/student) or wheel:... Its own prompts are used. With --base-url
    it is one that a server embeds with.

    \b
    Example:  distill evaluate artifacts/demo/student --tasks SciFact
    """
    from distill.evaluate.model import load_any_model
    from distill.evaluate.run_models import check_prompts
    from distill.evaluate.score import score_tasks
    from distill.evaluate.summary import format_metric
    from distill.tasks import load_tasks

    tasks = load_tasks(asked.tasks, asked.benchmarks, asked.task_data)
    eval_model = load_any_model(asked.embedder, model, asked.instructions)
    eval_model = check_prompts(eval_model, asked.prompts, asked.force_prompts)
    for score in score_tasks(eval_model, tasks, asked.out):
        metric = format_metric(score.metric)
        click.echo(f"{score.task}\t{score.category}\t{metric}\t{score.score:.4f}")
    click.echo(f"results: {asked.out / 'results'}")


@click.command()
@click.argument("student")
@click.argument("teacher")
@click.argument("bases", nargs=-1, metavar="[BASE]...")
@task_options
@click.option("--widths", default="", help="Matryoshka widths of the student's vectors: 256,128.")
@click.option("--precisions", default="", help="Coarser vectors of the student: int8,binary.")
@click.option(
    "--asymmetric", is_flag=True, help="The student's queries over the teacher's documents, too."
)
@click.option(
    "--published",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Others' results in mteb's format: a file of one task, or a folder of them.  [repeatable]",
)
@click.option(
    "--accept-versions", is_flag=True, help="Take published results of another version of mteb."
)
def compare(
    student: str,
    teacher: str,
    bases: tuple[str, ...],
    asked: TaskOptions,
    widths: str,
    precisions: str,
    asymmetric: bool,
    published: tuple[Path, ...],
    accept_versions: bool,
) -> None:
    """Compare STUDENT with TEACHER, and with any BASE models, on the same tasks.

    Prints scores with the student's differences (95 % interval, p, items won, tied and lost), the
    share of the teacher kept, size, speed and what an index weighs (measured in turns on the same
    texts), and writes them to OUT/summary.json.

    \b
    Example:  distill compare runs/mine/student BAAI/bge-large-en-v1.5 runs/mine/base \\
                --tasks mine --task-data my_eval/ --widths 128 --precisions int8
    """
    from distill.evaluate.compare import compare as compare_models
    from distill.evaluate.compare import make_student_variants
    from distill.evaluate.published import read_published
    from distill.evaluate.summary import write_summary
    from distill.report.score_tables import render
    from distill.report.verdict import sentence
    from distill.tasks import load_tasks

    tasks = load_tasks(asked.tasks, asked.benchmarks, asked.task_data)
    reference = read_published(published, tasks, accept_versions)
    models = _load_models(student, teacher, bases, asked)
    variants = make_student_variants(models, _widths(widths), _precisions(precisions), asymmetric)
    summary = compare_models(models, tasks, asked.out, variants, reference)
    write_summary(asked.out / "summary.json", summary)
    console = Console()
    console.print(render(summary))
    console.print(sentence(summary), markup=False, highlight=False)
    click.echo(f"summary: {asked.out / 'summary.json'}")


def _load_models(
    student: str, teacher: str, bases: tuple[str, ...], asked: TaskOptions
) -> "dict[str, EvalModel]":
    from distill.evaluate.model import load_any_model
    from distill.evaluate.run_models import check_prompts

    roles = ["base", *(f"base-{n}" for n in range(2, len(bases) + 1))]
    others, told = asked.of_others, asked.instructions
    found = {
        "student": check_prompts(
            load_any_model(others, student, told), asked.prompts, asked.force_prompts
        ),
        "teacher": load_any_model(asked.embedder, teacher, told),
    }
    for role, reference in zip(roles, bases, strict=False):
        found[role] = load_any_model(others, reference, told)
    return found


def _widths(words: str) -> list[int]:
    if not all(re.fullmatch("0*[1-9][0-9]{0,5}", word) for word in listed(words)):
        raise UserError(f"--widths {words}", "is no list of widths", "give such as 256,128")
    return [int(word) for word in listed(words)]


def _precisions(words: str) -> "list[Precision]":
    known: dict[str, Precision] = {"int8": "int8", "binary": "binary"}
    for word in listed(words):
        if word not in known:
            remedy = f"choose from {','.join(known)}"
            raise UserError(f"--precisions {words}", f"{word} is not known", remedy)
    return [known[word] for word in listed(words)]
