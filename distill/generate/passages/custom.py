"""A user's own way from a passage to a query: a Jinja prompt and the JSON schema of the reply, both
named in the recipe, no Python.

A reply is the JSON value itself and nothing else. It is never searched for in other text: a reply
that does not fit the schema is left out with the reason.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.protocols import Validator

from distill.errors import UserError
from distill.files.json_schema import make_validator, read_schema
from distill.files.read import read_text
from distill.generate.passages.conditions import GenerationConditions, load_language_names
from distill.generate.passages.reply import ParsedQuery, check_query
from distill.llm.prompts import Prompt, find_prompt, load_prompt
from distill.llm.protocol import LLM, Sampling
from distill.llm.thoughts import strip_thoughts
from distill.recipe import Generate
from distill.store.tables import Row, join_passage
from distill.text.sanitize import sanitize_for_prompt, strip_code_fence


@dataclass(frozen=True)
class CustomMethod:
    """A `QueryMethod` with the user's own prompt and the JSON schema of the reply."""

    settings: Generate
    prompt_file: Prompt
    schema: str
    validator: Validator
    languages: dict[str, str]

    @property
    def source(self) -> dict[str, str]:
        """The files that decide the result, for fingerprints."""
        return {"custom_prompt": self.prompt_file.source, "custom_schema": self.schema}

    @property
    def task(self) -> str:
        """The task of a query whose reply names none."""
        return self.settings.custom.default_task

    def render_prompt(self, passage: Row, conditions: GenerationConditions, chat: bool) -> str:
        """Render the user's prompt for a passage."""
        words = self.settings.max_passage_words
        return self.prompt_file.render(
            passage=sanitize_for_prompt(join_passage(passage), words),
            title=sanitize_for_prompt(passage["title"], words),
            text=sanitize_for_prompt(passage["text"], words),
            **conditions.list_variables(self.languages),
            chat=chat,
        )

    def can_be_constrained(self, llm: LLM) -> bool:
        """Return whether the engine can hold its output to the user's JSON schema."""
        return llm.supports_schema

    def make_sampling(self, chat: bool, constrain: bool) -> Sampling:
        """Make the sampling settings: a text that is continued ends at an empty line, where nothing
        else ends it."""
        settings = self.settings
        return Sampling(
            settings.max_new_tokens,
            settings.temperature,
            settings.top_p,
            stop=() if chat or constrain else ("\n\n",),
            chat=chat,
            json_schema=self.schema if constrain else None,
        )

    def parse(self, output: str, finished: bool) -> ParsedQuery:
        """Read the query in a reply, which must be JSON that the user's schema allows."""
        custom = self.settings.custom
        text = strip_thoughts(output)
        if not finished or text is None:
            return ParsedQuery(reason="unfinished")
        try:
            reply = json.loads(strip_code_fence(text), parse_constant=_refuse)
            fault = jsonschema.exceptions.best_match(self.validator.iter_errors(reply))
        except (ValueError, RecursionError):
            return ParsedQuery(reason="not JSON")
        if fault is not None:
            return ParsedQuery(
                reason=f"does not fit the schema: {fault.json_path}, {fault.validator}"
            )
        query, task = reply.get(custom.query), reply.get(custom.task) if custom.task else None
        if not isinstance(query, str):
            return ParsedQuery(reason=f"no text in {custom.query!r}")
        if custom.task and not isinstance(task, str):
            return ParsedQuery(reason=f"no text in {custom.task!r}")
        return check_query(task, query, frozenset())


def load_custom(settings: Generate, folder: Path) -> CustomMethod:
    """Load the user's prompt and schema.

    Args:
        folder: of the recipe, which the files are named relative to.

    Raises:
        UserError: if one of the files is missing or malformed, if the schema is not of an object
            with the named properties, or if it refers to other files.
    """
    custom = settings.custom
    path = find_prompt(custom.json_schema, folder)
    source = read_text(path)
    schema = read_schema(path, source)
    for key in (custom.query, custom.task):
        if key is not None:
            _check_property(path, schema, key)
    return CustomMethod(
        settings,
        load_prompt(custom.prompt, folder, parts=1),
        source,
        make_validator(schema),
        load_language_names(settings.languages),
    )


def _check_property(path: Path, schema: dict[str, Any], key: str) -> None:
    declared = schema.get("properties", {}).get(key)
    if declared is None or declared is False:
        raise UserError(
            str(path),
            f"does not describe the property {key!r} that the recipe reads",
            "add it under properties, or name another in generate.custom",
        )
    kinds = declared.get("type", "string") if isinstance(declared, dict) else "string"
    if "string" not in ([kinds] if isinstance(kinds, str) else kinds):
        raise UserError(str(path), f"property {key!r} is not a text", 'give it {"type": "string"}')


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError(constant)
