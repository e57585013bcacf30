"""A prompt and its sampling as a request, and a reply's choice as what the model wrote."""

import re
from typing import Any

from distill.llm.http.cached_client import CachedClient, RequestBody
from distill.llm.http.content import ReplyContent, is_plain_text, read_content
from distill.llm.protocol import Completion, Sampling
from distill.llm.thoughts import cut_at_stop
from distill.remote.client import ServerReply

CHAT = "/chat/completions"
COMPLETION = "/completions"
_SEED_COUNT = 2**31
"""Some servers hold a seed in 32 bits, with a sign."""
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_UNFINISHED = ("length", "content_filter", "abort", "error")


def make_prompt_fields(prompt: str, chat: bool) -> RequestBody:
    return {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}


def choose_path(chat: bool) -> str:
    return CHAT if chat else COMPLETION


def make_generation_body(
    answers: CachedClient, prompt: str, seed: int, sampling: Sampling, form: RequestBody
) -> RequestBody:
    """The request for one continuation. Greedy ones have no seed: it decides nothing.

    Args:
        form: the fields that force a form on the text.
    """
    fields: RequestBody = {
        **make_prompt_fields(prompt, sampling.chat),
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        **form,
    }
    if sampling.temperature > 0:
        fields["seed"] = seed % _SEED_COUNT
        if sampling.top_p < 1:
            fields["top_p"] = sampling.top_p
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    return answers.body(**fields)


def make_schema_field(schema: dict[str, Any]) -> RequestBody:
    """`response_format` for a JSON schema, strict where the schema is written for that."""
    named = {"name": "reply", "schema": schema, "strict": is_strict(schema)}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def is_strict(schema: Any) -> bool:
    """Whether each object in a schema requires all its properties and allows no others, which is
    what hosted servers ask of a strict schema."""
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
    """What is kept of a choice: the text word for word, and why it ended; of a choice whose content
    is no text, or that has thoughts alone, all that the server gave too, in `raw`. Half a
    character, which a limit of tokens may leave at the end, cannot be written to a file and becomes
    U+FFFD."""
    chosen = reply["choices"][choice]
    end = chosen.get("finish_reason")
    kept = {
        "text": _replace_half_characters(read_content(chosen).text),
        "end": end if isinstance(end, str) else None,
    }
    return kept if is_plain_text(chosen) else {**kept, "raw": chosen}


def make_completion(kept: dict[str, Any], stop: tuple[str, ...]) -> Completion:
    """The text before the first stop string, should the server not have heeded them all. What was
    kept as it came is read anew: another version may read what this one cannot."""
    content = read_content(kept["raw"]) if "raw" in kept else ReplyContent(kept["text"])
    whole = _replace_half_characters(content.text)
    text = cut_at_stop(whole, stop)
    stopped = len(text) < len(whole)
    if kept["end"] == "content_filter" and not text:
        return Completion("", False, fault="the server's content filter")
    if content.fault:
        return Completion("", False, fault=content.fault)
    return Completion(text, stopped or kept["end"] not in _UNFINISHED)


def _replace_half_characters(text: str) -> str:
    return _HALF_CHARACTER.sub("\ufffd", text)
