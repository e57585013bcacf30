"""Which forms a server forces on what it writes, found out by asking it for one of each."""

import json
import logging
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

from distill.files.json_schema import make_validator
from distill.llm.http.cached_client import CachedClient, RequestBody
from distill.llm.http.generation import (
    choose_path,
    make_prompt_fields,
    make_schema_field,
    read_choice,
)
from distill.llm.protocol import Sampling

_PROBE_PROMPT = "Answer with the one word yes."
_REGEX = "[0-9]{3}-[0-9]{3}"
_SCHEMA = {
    "type": "object",
    "properties": {"number": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["number"],
    "additionalProperties": False,
}
_PROBE_TOKENS = 48
_log = logging.getLogger(__name__)


def _make_regex_fields(regex: str) -> dict[str, RequestBody]:
    """The fields by which servers take a regular expression: vLLM, older vLLM, SGLang."""
    return {
        "structured_outputs": {"structured_outputs": {"regex": regex}},
        "guided_regex": {"guided_regex": regex},
        "regex": {"regex": regex},
    }


class StructuredOutput:
    """What forms a server forces. It is asked when that is first needed: a server that does not
    know a field may well ignore it."""

    def __init__(self, answers: CachedClient) -> None:
        self._answers = answers
        self._chat = answers.settings.form != "completion"

    @cached_property
    def regex_way(self) -> str | None:
        """The field by which the server takes a regular expression."""
        way = self._first_forced(
            _make_regex_fields(_REGEX), lambda text: bool(re.fullmatch(_REGEX, text))
        )
        _log.info("%s: regular expressions are forced by %s", self._answers.client.url, way)
        return way

    @cached_property
    def schema(self) -> bool:
        """Whether the server forces a JSON schema."""
        way = self._first_forced(
            {"response_format": make_schema_field(_SCHEMA)}, make_schema_check(_SCHEMA)
        )
        _log.info("%s: JSON schemas are forced by %s", self._answers.client.url, way)
        return way is not None

    def fields(self, sampling: Sampling) -> RequestBody:
        """The fields for the form that `sampling` asks for; none where the server has no way. A
        schema is sent in any case: a model may heed it although the server forces nothing."""
        if sampling.json_schema:
            return make_schema_field(json.loads(sampling.json_schema))
        if sampling.regex and self.regex_way:
            return _make_regex_fields(sampling.regex)[self.regex_way]
        return {}

    def _first_forced(
        self, ways: dict[str, RequestBody], fits: Callable[[str], bool]
    ) -> str | None:
        """The first way by which a reply gets a form that its prompt does not ask for."""
        fields = {
            **make_prompt_fields(_PROBE_PROMPT, self._chat),
            "max_tokens": _PROBE_TOKENS,
            "temperature": 0.0,
        }
        return self._answers.first(
            choose_path(self._chat),
            {way: self._answers.body(**fields, **field) for way, field in ways.items()},
            lambda reply: fits(read_choice(reply, 0)["text"]),
        )


def make_schema_check(schema: dict[str, Any]) -> Callable[[str], bool]:
    """Whether a text is JSON that `schema` allows."""
    validator = make_validator(schema)

    def fits(text: str) -> bool:
        try:
            return bool(validator.is_valid(json.loads(text)))
        except (ValueError, RecursionError):
            return False

    return fits
