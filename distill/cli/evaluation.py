"""`distill evaluate` and `distill compare`."""

from pathlib import Path

import click
from rich.console import Console

from distill.options import task_options


@click.command()
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


@click.command()
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
