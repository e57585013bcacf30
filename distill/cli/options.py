"""Options that several commands share."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from distill.api.before import load_recipe_for, settle_source
from distill.api.evaluation import read_embedder
from distill.api.session import load_recipe
from distill.errors import UserError
from distill.files.read import is_text, parse_path
from distill.files.read_yaml import parse_yaml
from distill.object_store.address import is_store_address, parse_address
from distill.recipe import ALL_TOKENS, Dtype, EmbedderConfig
from distill.store.run import Overwrite
from distill.text.format import Side

Command = TypeVar("Command", bound=Callable[..., Any])
_FEWEST_TOKENS, _MOST_READ = 4, 10_000_000
"""Of a text: one besides those that mark its begin and end; more than any model reads."""
_RUN_HELP = "Folder of the run.  [default: artifacts/NAME, with the recipe's name]"
_FLAG_SETTINGS = "distill.flag_settings"
"""In a command's context: the settings that its flags stand for."""
_CORPUS = "distill.corpus"
"""In a command's context: the path of --corpus."""


class _Text(click.ParamType):
    """Words that enter a model: bytes of the command line that are no UTF-8 are none."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_text(str(value)):
            self.fail(f"{str(value)!r} is not UTF-8.", param, ctx)
        return str(value)


class _LocalPath(click.ParamType):
    """A file or folder of this machine, ~ being one's home, or, if `stored`, of an object store."""

    name = "path"

    def __init__(self, stored: bool = False) -> None:
        self._stored = stored

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self._stored and is_store_address(str(value)):
            try:
                return str(parse_address(str(value)))
            except ValueError as fault:
                self.fail(f"{fault}.", param, ctx)
        if not str(value).strip():
            self.fail("is empty: name a file or folder.", param, ctx)
        scheme, address, _ = str(value).partition("://")
        if address:  # the rest is not repeated: it may hold a password
            self.fail(
                f"{scheme}://... is an address: name a file or folder of this machine.", param, ctx
            )
        return parse_path(str(value))


TEXT = _Text()
PATH = _LocalPath()
CORPUS_PATH = _LocalPath(stored=True)


def _check_device(context: click.Context, _: click.Parameter, device: str | None) -> str | None:
    from distill.runtime.devices import check_device

    check_device(device, "--device")
    return device


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
        help="If a stage was made with other settings: never stops; stale redoes it and the stages "
        "that depend on it; always redoes every stage. Replaced stages move to RUN/superseded.",
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


def corpus_option(command: Command) -> Command:
    """Declare --corpus: a path in the place of the recipe's corpus, or of a whole recipe."""

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


@dataclass(frozen=True)
class TaskOptions:
    """Parsed values of the task options. `embedder` is for the model that is evaluated, or for the
    teacher in a comparison; `student` for the student and the base models there."""

    tasks: list[str]
    benchmarks: list[str]
    task_data: Path | None
    columns: dict[str, str]
    corpus: Path | None
    out: Path
    embedder: EmbedderConfig
    student: EmbedderConfig
    instructions: bool
    prompts: dict[Side, str]
    force_prompts: bool


def add_task_options(command: Command) -> Command:
    """Declare the options that `evaluate` and `compare` share, parsed to `options`."""

    @click.option(
        "--tasks",
        default="",
        help="Task names, or paths of labelled files, separated by commas: SciFact,mine,q.csv.",
    )
    @click.option(
        "--columns",
        default="",
        metavar="PART=NAME,...",
        help="Columns of labelled files, where not found by their usual names: "
        "question=q,passage=text. Parts: question, passage, document (an id), title, score.",
    )
    @click.option(
        "--corpus",
        type=PATH,
        help="Documents whose ids labelled files name: a file or folder of any form.  [default: "
        "corpus.jsonl, .csv and so on beside the labelled file]",
    )
    @click.option(
        "--benchmark",
        "benchmarks",
        multiple=True,
        help="Add all tasks of an mteb benchmark, such as 'MTEB(eng, v2)'.  [repeatable]",
    )
    @click.option(
        "--task-data",
        type=PATH,
        help="Folder of offline data, one sub-folder per task: a copy of an official task under "
        "its name, or your own queries, pairs or labels under another name.",
    )
    @click.option(
        "--out",
        type=PATH,
        default=Path("artifacts/evaluation"),
        show_default=True,
        help="Folder for results in mteb's format; results found there are not computed again.",
    )
    @click.option(
        "--max-tokens",
        type=click.IntRange(_FEWEST_TOKENS, _MOST_READ),
        help="Truncate texts to this many tokens.  [default: the model's maximum]",
    )
    @click.option(
        "--device",
        callback=_check_device,
        help="cpu, cuda, cuda:1 or mps.  [default: the best available]",
    )
    @click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="Number type of weights and computation. auto: bfloat16 on a GPU that computes it "
        "natively, else float32.",
    )
    @click.option(
        "--embedder",
        "settings",
        multiple=True,
        type=TEXT,
        metavar="KEY=VALUE",
        help="Set an option of the model (compare: of the teacher), as in a recipe's section "
        "teacher: query_template, query_prompt, document_prompt, bidirectional, append_eos, "
        "known_as, batch_tokens; for a server also batch_texts, extra_body and others.  "
        "[repeatable]",
    )
    @click.option(
        "--instruction-template",
        metavar="TEXT",
        type=TEXT,
        help="Query template; {task} is the task's instruction, \\n a new line: 'Instruct: "
        "{task}\\nQuery: {query}'. Short for --embedder query_template=TEXT.",
    )
    @click.option(
        "--no-instructions",
        is_flag=True,
        help="Leave the task's instruction out of queries, even for models trained with it.",
    )
    @click.option(
        "--query-prompt",
        type=TEXT,
        help="Text before each query, in place of the model's own (compare: the student's).",
    )
    @click.option("--document-prompt", type=TEXT, help="The same before each document.")
    @click.option(
        "--force-prompts", is_flag=True, help="Allow prompts that the model was not trained with."
    )
    @click.option(
        "--base-url",
        metavar="URL",
        help="Address of an OpenAI-compatible embedding server (compare: for the teacher), such as "
        "http://localhost:8000/v1; MODEL is then its name on the server.",
    )
    @click.option(
        "--api-key-variable",
        default="OPENAI_API_KEY",
        show_default=True,
        help="Environment variable that holds the server's API key.",
    )
    @wraps(command)
    def resolve(
        tasks: str,
        benchmarks: tuple[str, ...],
        instruction_template: str | None,
        settings: tuple[str, ...],
        dtype: Dtype,
        no_instructions: bool,
        query_prompt: str | None,
        document_prompt: str | None,
        task_data: Path | None,
        columns: str,
        corpus: Path | None,
        out: Path,
        max_tokens: int | None,
        device: str | None,
        force_prompts: bool,
        base_url: str | None,
        api_key_variable: str,
        **options: Any,
    ) -> Any:
        prompts: dict[Side, str | None] = {"query": query_prompt, "document": document_prompt}
        parsed = TaskOptions(
            tasks=split_list(tasks),
            benchmarks=list(benchmarks),
            task_data=task_data,
            columns=_parse_columns(columns),
            corpus=corpus,
            out=out,
            embedder=_parse_embedder(
                {
                    "max_tokens": max_tokens,
                    "device": device,
                    "dtype": dtype,
                    "base_url": base_url,
                    "api_key_variable": api_key_variable,
                },
                [*_parse_instruction(instruction_template), *settings],
            ),
            student=EmbedderConfig(max_tokens=max_tokens or ALL_TOKENS, device=device, dtype=dtype),
            instructions=not no_instructions,
            prompts={side: prompt for side, prompt in prompts.items() if prompt is not None},
            force_prompts=force_prompts,
        )
        if not parsed.tasks and not parsed.benchmarks:
            raise UserError(
                "command line", "no task is named", "give --tasks SciFact, or --benchmark NAME"
            )
        return command(options=parsed, **options)

    return cast(Command, resolve)


def _parse_embedder(flags: dict[str, Any], settings: Sequence[str]) -> EmbedderConfig:
    """Return the settings of an embedding model from flags and KEY=VALUE, whose value is YAML.

    Raises:
        UserError: naming the setting.
    """
    values = {key: value for key, value in flags.items() if value is not None}
    for item in settings:
        key, sign, value = item.partition("=")
        if not sign or key not in EmbedderConfig.model_fields:
            known = ", ".join(EmbedderConfig.model_fields)
            raise UserError(f"--embedder {item}", "is not KEY=VALUE of an embedder", known)
        values[key] = _parse_setting(key, value)
    return read_embedder(values)


def _parse_columns(text: str) -> dict[str, str]:
    """Parse PART=NAME pairs between commas."""
    pairs, where = [word.partition("=") for word in split_list(text)], f"--columns {text}"
    for part, sign, name in pairs:
        if not (part and sign and name):
            raise UserError(where, "is no list of PART=NAME", "give such as question=q")
    return {part: name for part, _, name in pairs}


def _parse_instruction(template: str | None) -> list[str]:
    """Parse --instruction-template to a setting; one that tells no task is refused."""
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


def _parse_setting(key: str, value: str) -> Any:
    """Parse KEY=VALUE. Texts stand as they are, but \\n is a new line, {instruction} is {task}."""
    if key in _TEXTS:
        text = value.replace("\\n", "\n")
        return text.replace("{instruction}", "{task}") if key == "query_template" else text
    return parse_yaml(value, f"--embedder {key}", "give such as true, or 64")


def split_list(words: str) -> list[str]:
    """Return the words between commas."""
    return [word.strip() for word in words.split(",") if word.strip()]
