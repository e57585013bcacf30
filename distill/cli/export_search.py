"""`distill export` and `distill search`."""

from pathlib import Path

import click
from rich.console import Console

from distill import api
from distill.cli.options import PATH, TEXT, split_list


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL")
@click.option("--out", required=True, type=PATH, help="Folder to write; it must not exist yet.")
@click.option(
    "--format",
    "formats",
    default=",".join(api.FORMATS),
    show_default=True,
    help="Formats to write, separated by commas.",
)
@click.option(
    "--task",
    help="Task on which the int8 format may lose at most 0.01 of the score.  [default: the run's "
    "first task; without a task only vectors are compared]",
)
@click.option("--task-data", type=PATH, help="Folder of offline data, one sub-folder per task.")
@click.option(
    "--push",
    "hub_name",
    metavar="OWNER/NAME",
    help="Upload the folder to this repository of the Hugging Face hub, with the token in "
    "HF_TOKEN. A new repository is private.",
)
@click.option(
    "--force", is_flag=True, help="Export a student that its run found worse than its base."
)
def export(
    model: str,
    out: Path,
    formats: str,
    task: str | None,
    task_data: Path | None,
    hub_name: str | None,
    force: bool,
) -> None:
    """Export a run's student, or another model, as files for other programs, with a model card.

    Formats: sentence-transformers is the model's own folder; onnx is one graph from token ids to
    normalized vectors; int8 is the same graph with 8-bit weights. Each file is loaded again and
    compared with the model. If one differs too much, nothing is written.

    \b
    Example:  distill export artifacts/demo --out exports/demo
    """
    result = api.export(
        model,
        out,
        split_list(formats),
        task=task,
        task_data=task_data,
        push_to=hub_name,
        force=force,
    )
    for name, file in result.files.items():
        size = file.bytes / 1e6
        click.echo(f"{result.folder / file.path}: {name}, {size:.1f} MB; {file.parity}")
    click.echo(f"card: {result.folder / 'README.md'}")
    if result.commit is not None:
        click.echo(f"pushed: {result.commit}")


@click.command()
@click.argument("run", metavar="RUN", type=PATH)
@click.argument("query", type=TEXT)
@click.option(
    "--k", default=5, show_default=True, type=click.IntRange(1), help="Number of passages to show."
)
def search(run: Path, query: str, k: int) -> None:
    """Search a run's corpus with its student and its teacher, side by side.

    The first search embeds the corpus with each model; later searches read the vectors from
    RUN/vectors.

    \b
    Example:  distill search artifacts/demo "how do I transpose a matrix"
    """
    from distill.inspect.search import render_results

    Console().print(render_results(api.search(run, query, k)))
