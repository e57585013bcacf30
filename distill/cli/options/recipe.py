"""Options of the commands that take a recipe."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, cast

import click

from distill.api.before import load_recipe_for, settle_source
from distill.api.session import load_recipe
from distill.cli.options.values import CORPUS_PATH, PATH, Command
from distill.store.run import Overwrite

_RUN_HELP = "Folder of the run.  [default: artifacts/NAME, with the recipe's name]"
_FLAG_SETTINGS = "distill.flag_settings"
"""In a command's context: the settings that its flags stand for."""
_CORPUS = "distill.corpus"
"""In a command's context: the path of --corpus."""


def add_recipe_options(command: Command) -> Command:
    """Declare RECIPE, --run, --set and --overwrite, resolved to `recipe`, `folder`, `overwrite`."""

    @click.argument("recipe_file", metavar="[RECIPE]", required=False, type=PATH)
    @click.option("--run", "folder", type=PATH, help=_RUN_HELP)
    @click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set a key of the recipe, such as generate.samples=2.  [repeatable]",
    )
    @click.option(
        "--overwrite",
        type=click.Choice(["never", "stale", "always"]),
        default="never",
        show_default=True,
        help="What to do if a stage was made with other settings. never: stop with an error; "
        "stale: make it and the stages that depend on it again; always: make every stage again. "
        "Replaced stages move to RUN/superseded.",
    )
    @wraps(command)
    def resolve(
        recipe_file: Path | None,
        folder: Path | None,
        sets: tuple[str, ...],
        overwrite: Overwrite,
        **options: Any,
    ) -> Any:
        meta = click.get_current_context().meta
        settings, corpus = [*sets, *meta.get(_FLAG_SETTINGS, [])], meta.get(_CORPUS)
        if corpus is not None and recipe_file is None:
            recipe, folder = load_recipe_for(corpus, settings, folder)
        else:
            path = [] if corpus is None else [f"corpus.path={json.dumps(str(corpus))}"]
            if path or recipe_file is None:
                settings = settle_source([*path, *settings], None if path else folder)
            recipe = load_recipe(recipe_file, settings, folder)
        place = folder or Path("artifacts") / recipe.name
        return command(recipe=recipe, folder=place, overwrite=overwrite, **options)

    return cast(Command, resolve)


def add_corpus_option(command: Command) -> Command:
    """Declare --corpus: a path instead of the recipe's corpus, or of a whole recipe."""

    def remember(context: click.Context, option: click.Parameter, value: Path | str | None) -> None:
        if value is not None:
            context.meta[_CORPUS] = value

    return click.option(
        "--corpus",
        type=CORPUS_PATH,
        callback=remember,
        expose_value=False,
        help="File, folder or s3:// address of texts or rows. Without a RECIPE one is written for "
        "it, as `distill init` does, to RUN/init.yaml; with one it replaces the recipe's corpus.",
    )(command)


def add_recipe_flag(
    flag: str, key: str, help: str, type: click.ParamType | None = None
) -> Callable[[Command], Command]:
    """Declare a flag that sets a key of the recipe: it is short for `--set KEY=VALUE`."""

    def remember(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value is not None:
            context.meta.setdefault(_FLAG_SETTINGS, []).append(f"{key}={value}")

    return click.option(flag, type=type, help=help, callback=remember, expose_value=False)


def add_estimate_options(command: Command) -> Command:
    """Declare --prices and --sample."""
    for option in (
        click.option(
            "--sample",
            default=8,
            type=click.IntRange(0),
            show_default=True,
            help="Number of prompts to run to measure tokens and speed; 0 estimates from text "
            "length.",
        ),
        click.option(
            "--prices",
            "prices_file",
            type=PATH,
            help="YAML file with a currency and each model's input and output price per million "
            "tokens.",
        ),
    ):
        command = option(command)
    return command
