"""Requests for generation, and the completions read from their replies."""

import re
from typing import Any

from distill.llm.http.cached_client import CachedClient, RequestBody
from distill.llm.http.content import NULL, ReplyContent, is_plain_text, read_content
from distill.llm.protocol import Completion, Sampling
from distill.llm.thoughts import cut_at_stop
from distill.remote.faults import ServerReply

CHAT = "/chat/completions"
COMPLETION = "/completions"
_SEED_COUNT = 2**31
"""Some servers hold a seed in 32 bits, with a sign."""
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_FAILED = ("abort", "error")
"""Ends that are the server's own: another time it may write the whole text."""
_UNFINISHED = ("length", "content_filter", *_FAILED)


def make_prompt_fields(prompt: str, chat: bool) -> RequestBody:
    """Make the field that holds the prompt, of either endpoint."""
    return {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}


def choose_path(chat: bool) -> str:
    """Choose the endpoint: chat messages or text to be continued."""
    return CHAT if chat else COMPLETION


def make_generation_body(
    client: CachedClient, prompt: str, seed: int, sampling: Sampling, constraint: RequestBody
) -> RequestBody:
    """Make the request for one continuation. Greedy ones have no seed: it decides nothing.

    Args:
        constraint: the fields that ask for structured output.
    """
    fields: RequestBody = {
        **make_prompt_fields(prompt, sampling.chat),
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        **constraint,
    }
    if sampling.temperature > 0:
        fields["seed"] = seed % _SEED_COUNT
        if sampling.top_p < 1:
            fields["top_p"] = sampling.top_p
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    return client.make_body(**fields)


def make_schema_field(schema: dict[str, Any]) -> RequestBody:
    """Make `response_format` for a JSON schema, strict where the schema meets the rules of that."""
    named = {"name": "reply", "schema": schema, "strict": is_strict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def is_strict(schema: Any) -> bool:
    """Return whether each object in a schema requires all its properties and allows no others,
    which is what hosted servers require of a strict schema."""
    if isinstance(schema, list):
        return all(is_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict):
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(properties):
            return False
    return all(is_strict(part) for part in schema.values())


def read_choice(reply: ServerReply, choice: int) -> dict[str, Any]:
    """Read what the cache stores of a choice: the text verbatim, and why it ended. For a choice
    whose content is no text, or only thoughts, the whole choice is added as `raw`. Half a
    character, which a limit of tokens may leave at the end, cannot be written to a file and becomes
    U+FFFD. A choice that the server did not finish, or that is null, is a `fault` that may pass."""
    chosen = reply["choices"][choice]
    end = chosen.get("finish_reason")
    if fault := _find_passing_fault(chosen):
        return {"fault": fault, "raw": chosen}
    stored = {
        "text": _replace_half_characters(read_content(chosen).text),
        "end": end if isinstance(end, str) else None,
    }
    return stored if is_plain_text(chosen) else {**stored, "raw": chosen}


def make_completion(stored: dict[str, Any], stop: tuple[str, ...]) -> Completion:
    """Make a completion of a stored choice, cut at the first stop string should the server have
    ignored one. A choice that was stored whole is read again: another version may read more of
    it."""
    if "fault" in stored:
        return Completion("", False, stored["fault"])
    content = read_content(stored["raw"]) if "raw" in stored else ReplyContent(stored["text"])
    whole = _replace_half_characters(content.text)
    text = cut_at_stop(whole, stop)
    stopped = len(text) < len(whole)
    if stored["end"] == "content_filter" and not text:
        return Completion("", False, fault="the server's content filter")
    if content.fault:
        return Completion("", False, fault=content.fault)
    return Completion(text, stopped or stored["end"] not in _UNFINISHED)


def _find_passing_fault(choice: dict[str, Any]) -> str | None:
    end = choice.get("finish_reason")
    if isinstance(end, str) and end in _FAILED:
        return f"the server ended the reply by {end!r}"
    return NULL if read_content(choice).fault == NULL else None


def _replace_half_characters(text: str) -> str:
    return _HALF_CHARACTER.sub("\ufffd", text)
