"""Structured output of a server: which constraints it enforces, found out by probing each once."""

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
    """Make the fields by which servers take a regular expression: vLLM, older vLLM, SGLang."""
    return {
        "structured_outputs": {"structured_outputs": {"regex": regex}},
        "guided_regex": {"guided_regex": regex},
        "regex": {"regex": regex},
    }


class StructuredOutput:
    """The constraints on its output that a server enforces. It is probed when that is first needed:
    a server that does not know a field may well ignore it."""

    def __init__(self, client: CachedClient) -> None:
        self._client = client
        self._chat = client.settings.prompt_format != "completion"

    @cached_property
    def regex_field(self) -> str | None:
        """The field by which the server takes a regular expression."""
        method = self._probe_constraint(
            _make_regex_fields(_REGEX), lambda text: bool(re.fullmatch(_REGEX, text))
        )
        self._say("regular expressions", method)
        return method

    @cached_property
    def supports_schema(self) -> bool:
        """Whether the server enforces a JSON schema."""
        method = self._probe_constraint(
            {"response_format": make_schema_field(_SCHEMA)}, make_schema_check(_SCHEMA)
        )
        self._say("JSON schemas", method)
        return method is not None

    def _say(self, constraints: str, method: str | None) -> None:
        url = self._client.server.url
        if method is None:
            _log.info("%s: enforces no %s; replies are parsed as they come", url, constraints)
        else:
            _log.info("%s: %s are enforced by %s", url, constraints, method)

    def make_fields(self, sampling: Sampling) -> RequestBody:
        """Make the request fields for the constraint of `sampling`; none where the server has no
        way. A schema is sent in any case: a model may follow it although the server enforces
        nothing."""
        if sampling.json_schema:
            return make_schema_field(json.loads(sampling.json_schema))
        if sampling.regex and self.regex_field:
            return _make_regex_fields(sampling.regex)[self.regex_field]
        return {}

    def _probe_constraint(
        self, methods: dict[str, RequestBody], fits: Callable[[str], bool]
    ) -> str | None:
        """Find the first method by which a reply meets a constraint that its prompt does not
        state."""
        fields = {
            **make_prompt_fields(_PROBE_PROMPT, self._chat),
            "max_tokens": _PROBE_TOKENS,
            "temperature": 0.0,
        }
        return self._client.probe(
            choose_path(self._chat),
            {name: self._client.make_body(**fields, **field) for name, field in methods.items()},
            lambda reply: fits(read_choice(reply, 0).get("text", "")),
        )


def make_schema_check(schema: dict[str, Any]) -> Callable[[str], bool]:
    """Make the check whether a text is JSON that `schema` allows."""
    validator = make_validator(schema)

    def is_valid(text: str) -> bool:
        try:
            return bool(validator.is_valid(json.loads(text)))
        except (ValueError, RecursionError):
            return False

    return is_valid
