"""What several commands ask on the command line."""

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from distill.errors import UserError
from distill.recipe import Recipe, load_recipe
from distill.run import Overwrite

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
_RUN_HELP = "The run's folder.  [default: artifacts/NAME, NAME from the recipe]"


def recipe_options(command: Command) -> Command:
    """RECIPE, --run, --set and --overwrite, resolved to `recipe`, `folder`, `overwrite`."""

    @click.argument("recipe_file", metavar="[RECIPE]", required=False, type=PATH)
    @click.option("--run", "folder", type=PATH, help=_RUN_HELP)
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


def estimate_options(command: Command) -> Command:
    """--prices and --sample."""
    for option in (
        click.option(
            "--sample",
            default=8,
            show_default=True,
            help="So many prompts are asked to measure tokens and speed; 0: none, all is reckoned.",
        ),
        click.option(
            "--prices",
            "prices_file",
            type=PATH,
            help="A YAML file: currency, and for each model its input and output price per million "
            "tokens.",
        ),
    ):
        command = option(command)
    return command


def task_options(command: Command) -> Command:
    """--tasks and --task-data, --out, --max-tokens and --device."""
    for option in (
        click.option("--device", help="cpu, cuda, cuda:1; by default the best that is there."),
        click.option("--max-tokens", type=int, help="Read no more of a text; default: all it can."),
        click.option(
            "--out",
            type=PATH,
            default=Path("artifacts/evaluation"),
            show_default=True,
            help="Where results go, in mteb's format; what is there is not computed again.",
        ),
        click.option(
            "--task-data",
            type=PATH,
            help="A folder of offline data, one sub-folder a task (BEIR layout): a copy of an "
            "official task under its name, or your own queries under any other.",
        ),
        click.option(
            "--tasks", required=True, help="Names with commas between them, such as SciFact,mine."
        ),
    ):
        command = option(command)
    return command
