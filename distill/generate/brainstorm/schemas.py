"""The six groups of tasks, and the JSON object that an example of each is written as (E5-Mistral,
section 3.1 and appendix C)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from distill.llm.thoughts import strip_thoughts
from distill.recipe import Group
from distill.store.tables import Row
from distill.text.sanitize import strip_code_fence

CHARACTERS_PER_TOKEN = 3
"""For each token of room: English takes four or more, so a text that may be this long fits."""
_SHORT = 160
_OVERHEAD = 12
"""Tokens of a key and its punctuation."""


@dataclass(frozen=True)
class ExampleSchema:
    """The keys of the JSON object in which an LLM writes an example, all of them strings: `query`,
    `positive` and `negative` name the keys of these texts, `short` the keys with short texts.
    `task` is the one task of a symmetric group, of which no list is written."""

    query: str
    positive: str
    negative: str | None
    short: tuple[str, ...]
    task: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a reply that are asked for."""
        return tuple(key for key in (self.query, self.positive, self.negative) if key)

    @property
    def long(self) -> tuple[str, ...]:
        """The keys whose values are documents and not phrases."""
        return tuple(key for key in self.keys if key not in self.short)


EXAMPLE_SCHEMAS: Mapping[Group, ExampleSchema] = {
    "short-long": ExampleSchema(
        "user_query", "positive_document", "hard_negative_document", short=("user_query",)
    ),
    "long-short": ExampleSchema(
        "input_text", "label", "misleading_label", ("label", "misleading_label")
    ),
    "short-short": ExampleSchema(
        "input", "positive_document", None, ("input", "positive_document")
    ),
    "long-long": ExampleSchema("input", "positive_document", None, ()),
    "sts": ExampleSchema("S1", "S2", "S3", (), "Given a text, find texts that mean the same."),
    "bitext": ExampleSchema("S1", "S2", "S3", (), "Given a text, find its translation."),
}


def make_example_schema(group: Group, max_new_tokens: int | None) -> dict[str, Any]:
    """Make the JSON schema of an example.

    Args:
        max_new_tokens: bounds the texts so that the object is closed within these tokens, for
            an engine that constrains; None: any length, for reading what was written.
    """
    form = EXAMPLE_SCHEMAS[group]
    longest = _limit_lengths(form, max_new_tokens)
    return {
        "type": "object",
        "properties": {key: _make_string(longest.get(key)) for key in form.keys},
        "required": list(form.keys),
        "additionalProperties": False,
    }


def make_tasks_schema(count: int | None, longest: int | None) -> dict[str, Any]:
    """Make the JSON schema of a list of tasks.

    Args:
        count: largest number of tasks.
        longest: characters of the longest, which is a sentence, for an engine that constrains. None
            for both: any list of texts, for reading what was written.
    """
    tasks: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    if count is not None and longest is not None:
        # A sentence that begins and ends as one: small models like to begin with a bracket.
        sentence = rf'^[A-Z][a-z]+ [^"\\\n]{{8,{longest - 10}}}\.$'
        tasks |= {"items": {"type": "string", "pattern": sentence}, "maxItems": count}
    return {
        "type": "object",
        "properties": {"tasks": tasks},
        "required": ["tasks"],
        "additionalProperties": False,
    }


def serialize_schema(schema: Mapping[str, Any]) -> str:
    """Return a schema as engines take it. Keys stay in their order, in which a text is written."""
    return json.dumps(schema)


class ParsedReply(NamedTuple):
    """The value of a reply that fits the schema, or the reason why there is none."""

    value: dict[str, Any]
    reason: str | None = None


def parse_json_reply(row: Row, schema: Mapping[str, Any]) -> ParsedReply:
    """Return the object of a BRAINSTORM row: its whole text, but for a code fence around it."""
    if row["fault"] is not None:
        return ParsedReply({}, "not written")
    reply = strip_thoughts(row["output"])
    if not row["finished"] or reply is None:
        return ParsedReply({}, "unfinished")
    try:
        value = json.loads(strip_code_fence(reply))
    except (ValueError, RecursionError):
        return ParsedReply({}, "no JSON")
    if not Draft202012Validator(schema).is_valid(value):
        return ParsedReply({}, "another form of JSON")
    return ParsedReply(value)


def _limit_lengths(form: ExampleSchema, max_new_tokens: int | None) -> dict[str, int]:
    """Limit the characters by key: short texts take little, long ones share what is left."""
    if max_new_tokens is None:
        return {}
    room = max(
        CHARACTERS_PER_TOKEN * (max_new_tokens - _OVERHEAD * len(form.keys)), 8 * len(form.keys)
    )
    short = min(_SHORT, room // len(form.keys))
    longest = dict.fromkeys(form.short, short)
    for key in form.long:
        longest[key] = (room - short * len(form.short)) // len(form.long)
    return longest


def _make_string(longest: int | None) -> dict[str, Any]:
    bounds = {} if longest is None else {"minLength": 2, "maxLength": longest}
    return {"type": "string", **bounds}
