"""Options of the commands that evaluate models on tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, cast

import click

from distill.api.evaluation import read_embedder
from distill.cli.options.values import PATH, TEXT, Command, split_list
from distill.errors import UserError
from distill.files.read_yaml import parse_yaml
from distill.recipe import ALL_TOKENS, Dtype, EmbedderConfig
from distill.text.format import Side

_FEWEST_TOKENS, _MOST_READ = 4, 10_000_000
"""Of a text: one besides those that mark its begin and end; more than any model reads."""


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


def _check_device(context: click.Context, _: click.Parameter, device: str | None) -> str | None:
    from distill.runtime.devices import check_device

    check_device(device, "--device")
    return device


_TASK_OPTIONS = (
    click.option(
        "--tasks",
        default="",
        help="Task names, or paths of labelled files, separated by commas: SciFact,mine,q.csv.",
    ),
    click.option(
        "--columns",
        default="",
        metavar="PART=NAME,...",
        help="Columns of labelled files, where not found by their usual names: "
        "question=q,passage=text. Parts: question, passage, document (an id), title, score.",
    ),
    click.option(
        "--corpus",
        type=PATH,
        help="Documents whose ids labelled files name: a file or folder of any form.  [default: "
        "corpus.jsonl, .csv and so on beside the labelled file]",
    ),
    click.option(
        "--benchmark",
        "benchmarks",
        multiple=True,
        help="Add all tasks of an mteb benchmark, such as 'MTEB(eng, v2)'.  [repeatable]",
    ),
    click.option(
        "--task-data",
        type=PATH,
        help="Folder of offline data, one sub-folder per task: a copy of an official task under "
        "its name, or your own queries, pairs or labels under another name.",
    ),
    click.option(
        "--out",
        type=PATH,
        default=Path("artifacts/evaluation"),
        show_default=True,
        help="Folder for results in mteb's format; results found there are not computed again.",
    ),
)
_MODEL_OPTIONS = (
    click.option(
        "--max-tokens",
        type=click.IntRange(_FEWEST_TOKENS, _MOST_READ),
        help="Truncate texts to this many tokens.  [default: the model's maximum]",
    ),
    click.option(
        "--device",
        callback=_check_device,
        help="cpu, cuda, cuda:1 or mps.  [default: the best available]",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="Number type of weights and computation. auto: bfloat16 on a GPU that computes it "
        "natively, else float32.",
    ),
    click.option(
        "--embedder",
        "settings",
        multiple=True,
        type=TEXT,
        metavar="KEY=VALUE",
        help="Set an option of the model (compare: of the teacher), as in a recipe's section "
        "teacher: query_template, query_prompt, document_prompt, bidirectional, append_eos, "
        "known_as, batch_tokens; for a server also batch_texts, extra_body and others.  "
        "[repeatable]",
    ),
    click.option(
        "--instruction-template",
        metavar="TEXT",
        type=TEXT,
        help="Query template; {task} is the task's instruction, \\n a new line: 'Instruct: "
        "{task}\\nQuery: {query}'. Short for --embedder query_template=TEXT.",
    ),
    click.option(
        "--no-instructions",
        is_flag=True,
        help="Leave the task's instruction out of queries, even for models trained with it.",
    ),
    click.option(
        "--query-prompt",
        type=TEXT,
        help="Text before each query, in place of the model's own (compare: the student's).",
    ),
    click.option("--document-prompt", type=TEXT, help="The same before each document."),
    click.option(
        "--force-prompts", is_flag=True, help="Allow prompts that the model was not trained with."
    ),
    click.option(
        "--base-url",
        metavar="URL",
        help="Address of an OpenAI-compatible embedding server (compare: for the teacher), such as "
        "http://localhost:8000/v1; MODEL is then its name on the server.",
    ),
    click.option(
        "--api-key-variable",
        default="OPENAI_API_KEY",
        show_default=True,
        help="Environment variable that holds the server's API key.",
    ),
)


def add_task_options(command: Command) -> Command:
    """Declare the options that `evaluate` and `compare` share, parsed to `options`."""

    @wraps(command)
    def resolve(**values: Any) -> Any:
        names = signature(_parse_task_options).parameters
        parsed = _parse_task_options(**{name: values.pop(name) for name in names})
        if not parsed.tasks and not parsed.benchmarks:
            raise UserError(
                "command line", "no task is named", "give --tasks SciFact, or --benchmark NAME"
            )
        return command(options=parsed, **values)

    for option in reversed([*_TASK_OPTIONS, *_MODEL_OPTIONS]):
        resolve = option(resolve)
    return cast(Command, resolve)


def _parse_task_options(
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
) -> TaskOptions:
    prompts: dict[Side, str | None] = {"query": query_prompt, "document": document_prompt}
    return TaskOptions(
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
