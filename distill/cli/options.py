"""What several commands ask on the command line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from pydantic import ValidationError

from distill.errors import UserError
from distill.files.read import is_text, user_path
from distill.files.read_yaml import parse_yaml
from distill.recipe import ALL_TOKENS, Dtype, EmbedderConfig, Recipe, load_recipe
from distill.store.run import Overwrite
from distill.text.format import Side

Command = TypeVar("Command", bound=Callable[..., Any])
_MOST_TOKENS = 8192
"""Of a text that a server embeds."""
_FEWEST_TOKENS, _MOST_READ = 4, 10_000_000
"""Of a text: one besides those that mark its begin and end; more than any model reads."""
_RUN_HELP = "The run's folder.  [default: artifacts/NAME, NAME from the recipe]"


class _Text(click.ParamType):
    """Words that enter a model: bytes of the command line that are no UTF-8 are none."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_text(str(value)):
            self.fail(f"{str(value)!r} is not UTF-8.", param, ctx)
        return str(value)


class _LocalPath(click.ParamType):
    """A file or folder of this machine, ~ being one's home."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not str(value).strip():
            self.fail("is empty: name a file or folder.", param, ctx)
        scheme, address, _ = str(value).partition("://")
        if address:  # the rest is not repeated: it may hold a password
            self.fail(
                f"{scheme}://... is an address: name a file or folder of this machine.", param, ctx
            )
        return user_path(str(value))


TEXT = _Text()
PATH = _LocalPath()


def _device(context: click.Context, option: click.Parameter, device: str | None) -> str | None:
    from distill.runtime.devices import check_device

    check_device(device, "--device")
    return device


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
            type=click.IntRange(0),
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


@dataclass(frozen=True)
class TaskOptions:
    """What `task_options` asks; lists have no commas any more. `embedder` is of the model that is
    evaluated, or of the teacher in a comparison; `of_others` of student and bases there."""

    tasks: list[str]
    benchmarks: list[str]
    task_data: Path | None
    out: Path
    embedder: EmbedderConfig
    of_others: EmbedderConfig
    instructions: bool
    prompts: dict[Side, str]
    force_prompts: bool


def task_options(command: Command) -> Command:
    """Which tasks, under which prompts, and where results go, as `asked`."""

    @click.option("--tasks", default="", help="Names with commas between them: SciFact,mine.")
    @click.option(
        "--benchmark",
        "benchmarks",
        multiple=True,
        help="All tasks of one of mteb's benchmarks, such as 'MTEB(eng, v2)'.  [repeatable]",
    )
    @click.option(
        "--task-data",
        type=PATH,
        help="A folder of offline data, one sub-folder a task: a copy of an official task under "
        "its name, or your own queries, pairs or labels under any other.",
    )
    @click.option(
        "--out",
        type=PATH,
        default=Path("artifacts/evaluation"),
        show_default=True,
        help="Where results go, in mteb's format; what is there is not computed again.",
    )
    @click.option(
        "--max-tokens",
        type=click.IntRange(_FEWEST_TOKENS, _MOST_READ),
        help="Read no more of a text; default: all it can.",
    )
    @click.option(
        "--device", callback=_device, help="cpu, cuda, cuda:1; by default the best that is there."
    )
    @click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="Of weights and computation; auto: bfloat16 on a GPU that computes it natively.",
    )
    @click.option(
        "--embedder",
        "settings",
        multiple=True,
        type=TEXT,
        metavar="KEY=VALUE",
        help="A setting of the model (compare: of the teacher), as in a recipe's section teacher: "
        "query_template, query_prompt, document_prompt, bidirectional, append_eos, known_as, "
        "batch_tokens; of a served one batch_texts, extra_body and others.  [repeatable]",
    )
    @click.option(
        "--instruction-template",
        metavar="TEXT",
        type=TEXT,
        help="Short for --embedder query_template=TEXT: how an instruction-tuned model is told "
        "each task, such as 'Instruct: {task}\\nQuery: {query}'; \\n is a new line.",
    )
    @click.option(
        "--no-instructions",
        is_flag=True,
        help="Tell no model the task, also those that were trained or published with one.",
    )
    @click.option(
        "--query-prompt", type=TEXT, help="In place of the model's own (compare: the student's)."
    )
    @click.option("--document-prompt", type=TEXT, help="The same for documents.")
    @click.option(
        "--force-prompts", is_flag=True, help="Allow prompts that are not those of training."
    )
    @click.option(
        "--base-url",
        metavar="URL",
        help="An OpenAI-compatible server that embeds (compare: as the teacher), such as "
        "http://localhost:8000/v1; the model is then named as the server has it.",
    )
    @click.option(
        "--api-key-variable",
        default="OPENAI_API_KEY",
        show_default=True,
        help="The environment variable that holds the server's key.",
    )
    @wraps(command)
    def resolved(
        tasks: str,
        benchmarks: tuple[str, ...],
        instruction_template: str | None,
        settings: tuple[str, ...],
        dtype: Dtype,
        no_instructions: bool,
        query_prompt: str | None,
        document_prompt: str | None,
        task_data: Path | None,
        out: Path,
        max_tokens: int | None,
        device: str | None,
        force_prompts: bool,
        base_url: str | None,
        api_key_variable: str,
        **options: Any,
    ) -> Any:
        prompts: dict[Side, str | None] = {"query": query_prompt, "document": document_prompt}
        asked = TaskOptions(
            tasks=listed(tasks),
            benchmarks=list(benchmarks),
            task_data=task_data,
            out=out,
            embedder=_embedder(
                {
                    "max_tokens": max_tokens or (ALL_TOKENS if base_url is None else _MOST_TOKENS),
                    "device": device,
                    "dtype": dtype,
                    "base_url": base_url,
                    "api_key_variable": api_key_variable,
                },
                [*_instruction(instruction_template), *settings],
            ),
            of_others=EmbedderConfig(
                max_tokens=max_tokens or ALL_TOKENS, device=device, dtype=dtype
            ),
            instructions=not no_instructions,
            prompts={side: prompt for side, prompt in prompts.items() if prompt is not None},
            force_prompts=force_prompts,
        )
        if not asked.tasks and not asked.benchmarks:
            raise UserError(
                "command line", "no task is named", "give --tasks SciFact, or --benchmark NAME"
            )
        return command(asked=asked, **options)

    return cast(Command, resolved)


def _embedder(given: dict[str, Any], settings: Sequence[str]) -> EmbedderConfig:
    """A section of settings from flags and KEY=VALUE, whose value is YAML.

    Raises:
        UserError: naming the setting.
    """
    for item in settings:
        key, sign, value = item.partition("=")
        if not sign or key not in EmbedderConfig.model_fields:
            known = ", ".join(EmbedderConfig.model_fields)
            raise UserError(f"--embedder {item}", "is not KEY=VALUE of an embedder", known)
        given[key] = _setting(key, value)
    try:
        return EmbedderConfig.model_validate(given)
    except ValidationError as fault:
        said = "; ".join(
            ": ".join([*map(str, error["loc"]), error["msg"].removeprefix("Value error, ")])
            for error in fault.errors()
        )
        raise UserError(
            "the options of the embedder", said, "see the section teacher of a recipe"
        ) from fault


def _instruction(template: str | None) -> list[str]:
    """--instruction-template as a setting; one that tells no task is refused."""
    if template is None:
        return []
    if not any(name in template for name in ("{task}", "{instruction}")):
        raise UserError(
            f"--instruction-template {template!r}",
            "does not hold {task}",
            "give one such as 'Instruct: {task}\\nQuery: {query}'",
        )
    return [f"query_template={template}"]


_TEXTS = {"query_template", "query_prompt", "document_prompt", "base_url", "known_as", "device"}


def _setting(key: str, value: str) -> Any:
    """Texts are taken as they are, but for \\n, which is a new line; {instruction} is {task}."""
    if key in _TEXTS:
        text = value.replace("\\n", "\n")
        return text.replace("{instruction}", "{task}") if key == "query_template" else text
    return parse_yaml(value, f"--embedder {key}", "give such as true, or 64")


def listed(words: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in words.split(",") if word.strip()]
