"""What the LLM wrote -> the JSON object in it, or the reason why not. Nothing is repaired."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from distill.llm.thoughts import strip_thoughts
from distill.store.tables import Row
from distill.text.fence import within_fence


class ParsedReply(NamedTuple):
    """Either a value that fits the schema, or the reason."""

    value: dict[str, Any]
    reason: str | None = None


def read_reply(row: Row, schema: Mapping[str, Any]) -> ParsedReply:
    """The object of a BRAINSTORM row: its whole text, but for a code fence around it."""
    if row["fault"] is not None:
        return ParsedReply({}, "not written")
    reply = strip_thoughts(row["output"])
    if not row["finished"] or reply is None:
        return ParsedReply({}, "unfinished")
    try:
        value = json.loads(within_fence(reply))
    except (ValueError, RecursionError):
        return ParsedReply({}, "no JSON")
    if not Draft202012Validator(schema).is_valid(value):
        return ParsedReply({}, "another form of JSON")
    return ParsedReply(value)
