"""The commands that make a student of use: as files for others, and as a search of one's own."""

from pathlib import Path

import click
from rich.console import Console

from distill.cli.options import PATH, TEXT


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL")
@click.option("--out", required=True, type=PATH, help="The folder to write; it must not be there.")
@click.option(
    "--format",
    "forms",
    default="sentence-transformers,onnx,int8",
    show_default=True,
    help="Which forms, with commas between them.",
)
@click.option(
    "--task",
    help="int8 may lose a hundredth of the score on this task.  [default: the run's first task; "
    "without one, vectors alone are compared]",
)
@click.option("--task-data", type=PATH, help="A folder of offline data, one sub-folder a task.")
@click.option(
    "--push",
    "hub_name",
    metavar="OWNER/NAME",
    help="Upload to this repository of the hub, with the token in HF_TOKEN; a new one is private.",
)
def export(
    model: str,
    out: Path,
    forms: str,
    task: str | None,
    task_data: Path | None,
    hub_name: str | None,
) -> None:
    """Write a run's student (or a MODEL) as files that others load, with a model card.

    sentence-transformers: the folder itself. onnx: one graph from token ids to unit vectors. int8:
    the same with weights of 8 bits. Each is loaded again and compared with the model: where one is
    not like it, nothing is written.

    \b
    Example:  distill export artifacts/demo --out exports/demo
    """
    from distill.export.export import export_model
    from distill.export.hub import check_push, push

    if hub_name is not None:
        check_push(hub_name)
    names = [form.strip() for form in forms.split(",") if form.strip()]
    for form, file in export_model(model, out, names, task, task_data, hub_name).items():
        click.echo(f"{out / file.path}: {form}, {file.bytes / 1e6:.1f} MB; {file.parity}")
    click.echo(f"card: {out / 'README.md'}")
    if hub_name is not None:
        click.echo(f"pushed: {push(out, hub_name)}")


@click.command()
@click.argument("run", metavar="RUN", type=PATH)
@click.argument("query", type=TEXT)
@click.option(
    "--k", default=5, show_default=True, type=click.IntRange(1), help="How many passages."
)
def search(run: Path, query: str, k: int) -> None:
    """Search a run's corpus with its student and its teacher, side by side.

    The corpus is embedded once by each; later queries find its vectors in RUN/vectors.

    \b
    Example:  distill search artifacts/demo "how do I transpose a matrix"
    """
    from distill.inspect.search import render, search_run

    Console().print(render(search_run(run, query, k)))
