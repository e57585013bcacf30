"""The text of a reply, in whichever shape a server gives its content.

A plain text is most common. Mistral gives a list of chunks; reasoning models give thoughts beside
the answer or, where the tokens ran out, in its place.
"""

from typing import Any, NamedTuple

from distill.llm.thoughts import NO_ANSWER

NULL = "the server returned null instead of a text"
"""A fault that may pass, unlike those of what the model wrote."""
_TEXT_TYPES = ("text", "output_text")
_THOUGHT_TYPES = ("thinking", "reasoning", "redacted_thinking", "reasoning_text")
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
_THINKING_REMEDY = (
    "raise the number of new tokens (generate.max_new_tokens), or switch thinking off by "
    'llm.extra_body, such as {"chat_template_kwargs": {"enable_thinking": false}} or '
    '{"reasoning_effort": "none"}'
)


class ReplyContent(NamedTuple):
    """The text of a reply; `fault` says, in words, why there is none."""

    text: str
    fault: str | None = None


def read_content(choice: dict[str, Any]) -> ReplyContent:
    """Read the text of a choice, of either endpoint."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return _join_chunks(message if "message" in choice else choice.get("text"))
    content = _join_chunks(message.get("content"))
    if content.text or (content.fault and message.get("content") is not None):
        return content
    refused = message.get("refusal")
    if isinstance(refused, str) and refused:
        return ReplyContent(refused)
    if any(message.get(field) for field in _THOUGHT_FIELDS):
        cut = choice.get("finish_reason") == "length"
        how = "used up its tokens on thoughts" if cut else "only thought"
        return ReplyContent("", f"the model {how} {NO_ANSWER}: {_THINKING_REMEDY}")
    if message.get("tool_calls"):
        return ReplyContent("", "the model called a tool and wrote no answer")
    return ReplyContent("") if choice.get("finish_reason") == "content_filter" else content


def is_plain_text(choice: dict[str, Any]) -> bool:
    """Return whether the choice holds nothing but its text."""
    message = choice.get("message")
    text = choice.get("text")
    if isinstance(message, dict):
        content = message.get("content")
        text = message.get("refusal") if content is None else content
    return isinstance(text, str) and read_content(choice).fault is None


def _join_chunks(content: Any) -> ReplyContent:
    """Join the texts of content that is a text, a chunk or a list of chunks; thoughts are left
    out."""
    if isinstance(content, str):
        return ReplyContent(content)
    if content is None:
        return ReplyContent("", NULL)
    chunks = content if isinstance(content, list) else [content]
    texts: list[str] = []
    for chunk in chunks:
        kind = chunk.get("type") if isinstance(chunk, dict) else None
        if isinstance(chunk, str):
            texts.append(chunk)
        elif kind in _TEXT_TYPES and isinstance(chunk.get("text"), str):
            texts.append(chunk["text"])
        elif kind not in _THOUGHT_TYPES:
            name = f"a chunk of type {str(kind)[:40]!r}" if kind else "a chunk without a type"
            return ReplyContent("", f"the server's content holds {name}, which is not text")
    if chunks and not texts:
        return ReplyContent("", f"the model only thought {NO_ANSWER}: {_THINKING_REMEDY}")
    return ReplyContent("".join(texts))
