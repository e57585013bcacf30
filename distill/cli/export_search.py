"""`distill export` and `distill search`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import click
from click.core import ParameterSource
from rich.console import Console

from distill import api
from distill.cli.options.values import PATH, TEXT, split_list
from distill.errors import UserError


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL")
@click.option("--out", required=True, type=PATH, help="Folder to write; it must not exist yet.")
@click.option(
    "--format",
    "formats",
    default=",".join(api.FORMATS),
    show_default=True,
    help="Formats to write, separated by commas; openvino is a further one.",
)
@click.option(
    "--task",
    help="Task on which the formats int8 and openvino may lose at most 1 % of the score.  "
    "[default: the run's first task; without a task only vectors are compared]",
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
    "--index",
    "vectors",
    type=click.Choice(["float32", "float16"]),
    help="Write instead a folder that searches the run's passages without distill: the query "
    "encoder, the passages' vectors in this number type, a BM25 index, the texts, and ten lines of "
    "Python.",
)
@click.option(
    "--judge",
    is_flag=True,
    help="Write instead the reranker that `distill train-judge` has trained in this run.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Export a student that its run found worse than its base; with --index also one that was "
    "trained on other passages or another teacher than the run has now.",
)
@click.pass_context
def export(
    context: click.Context,
    model: str,
    out: Path,
    formats: str,
    task: str | None,
    task_data: Path | None,
    hub_name: str | None,
    vectors: Literal["float32", "float16"] | None,
    judge: bool,
    force: bool,
) -> None:
    """Export a run's student, or another model, as files for other programs, with a model card.

    Formats: sentence-transformers is the model's own folder; onnx is one graph from token ids to
    normalized vectors; int8 is the same graph with 8-bit weights; openvino is an 8-bit graph of
    OpenVINO, for CPUs, and needs distill's extra of that name. Each file is loaded again and
    compared with the model. If one differs too much, nothing is written.

    \b
    Example:  distill export artifacts/demo --out exports/demo
              distill export artifacts/demo --out exports/search --index float32
              distill export artifacts/demo --out exports/reranker --judge
    """
    if judge:
        _refuse_with(context, "--judge", ("formats", "task", "task_data", "hub_name", "vectors"))
        click.echo(f"{api.export_judge(model, out)}: a sentence-transformers CrossEncoder")
        return
    if vectors is not None:
        _refuse_with(context, "--index", ("formats", "task", "task_data", "hub_name"))
        folder = api.export_index(model, out, vectors, force=force)
        for path in sorted(folder.iterdir()):
            click.echo(path)
        return
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


def _refuse_with(context: click.Context, option: str, names: tuple[str, ...]) -> None:
    """Refuse options that what `option` writes has no use for."""
    options = {option.name: option.opts[0] for option in context.command.params}
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UserError(
                f"{option} and {options[name]}", "do not go together", f"leave {options[name]} out"
            )


@click.command()
@click.argument("run", metavar="RUN", type=PATH)
@click.argument("query", type=TEXT, required=False)
@click.option(
    "--k", default=5, show_default=True, type=click.IntRange(1), help="Number of passages to show."
)
@click.option(
    "--hybrid",
    is_flag=True,
    help="Rank by each model and BM25 together (a weighted sum), as the report's rows `student + "
    "BM25` and `teacher + BM25` do.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a query, on one line.")
def search(run: Path, query: str | None, k: int, hybrid: bool, as_json: bool) -> None:
    """Search a run's corpus with its student and its teacher, side by side.

    Without QUERY each line of the standard input is a query; in a terminal you are asked for one
    after the other. The models are loaded once, which takes several seconds.

    The first search embeds the corpus with each model; later searches read the vectors from
    RUN/vectors, and the BM25 index from RUN/bm25.

    \b
    Example:  distill search artifacts/demo "how do I transpose a matrix"
              distill search artifacts/demo
              distill search artifacts/demo --json < queries.txt
    """
    from distill.inspect.search import render_results

    console = Console()
    if query is None:
        results = api.search_each(run, _read_queries(), k, hybrid=hybrid)
    else:
        results = iter((api.search(run, query, k, hybrid=hybrid),))
    for result in results:
        if as_json:
            click.echo(json.dumps(result.to_json(), ensure_ascii=False))
        else:
            console.print(render_results(result))


def _read_queries() -> Iterator[str]:
    """Read queries from the standard input, a line each, until it ends; in a terminal behind a
    prompt."""
    if not sys.stdin.isatty():
        for line in sys.stdin.buffer:
            if text := line.decode("utf-8", "surrogateescape").strip():
                yield text
        return
    click.echo("Ctrl-D ends.", err=True)
    while True:
        try:
            text = input("query> ").strip()
        except EOFError:
            click.echo()
            return
        if text:
            yield text
