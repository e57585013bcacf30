"""What a model wrote, in whichever of the forms that servers give a choice's content.

A text is most common. Mistral gives a list of chunks, reasoning models thoughts beside the answer
or, where the tokens ran out, in its place.
"""

from typing import Any, NamedTuple

_TEXT_TYPES = ("text", "output_text")
_THOUGHT_TYPES = ("thinking", "reasoning", "redacted_thinking", "reasoning_text")
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
_THINKING_REMEDY = (
    "raise the number of new tokens (generate.max_new_tokens), or switch thinking off by "
    'llm.extra_body, such as {"chat_template_kwargs": {"enable_thinking": false}} or '
    '{"reasoning_effort": "none"}'
)


class ReplyContent(NamedTuple):
    """`fault` says, in words, why there is no text."""

    text: str
    fault: str | None = None


def read_content(choice: dict[str, Any]) -> ReplyContent:
    """The text of a choice as a server gave it, of either endpoint."""
    message = choice.get("message")
    if not isinstance(message, dict):
        given = message if "message" in choice else choice.get("text")
        return _join_chunks(given)
    found = _join_chunks(message.get("content"))
    if found.text or (found.fault and message.get("content") is not None):
        return found
    refused = message.get("refusal")
    if isinstance(refused, str) and refused:
        return ReplyContent(refused)
    if any(message.get(field) for field in _THOUGHT_FIELDS):
        cut = choice.get("finish_reason") == "length"
        how = "thought until its tokens ran out" if cut else "thought"
        return ReplyContent("", f"the model {how} and wrote no answer: {_THINKING_REMEDY}")
    if message.get("tool_calls"):
        return ReplyContent("", "the model called a tool and wrote no answer")
    return ReplyContent("") if choice.get("finish_reason") == "content_filter" else found


def is_plain_text(choice: dict[str, Any]) -> bool:
    """Whether the choice's text is all that there is to keep of it."""
    message = choice.get("message")
    given = choice.get("text")
    if isinstance(message, dict):
        content = message.get("content")
        given = message.get("refusal") if content is None else content
    return isinstance(given, str) and read_content(choice).fault is None


def _join_chunks(content: Any) -> ReplyContent:
    if isinstance(content, str):
        return ReplyContent(content)
    if content is None:
        return ReplyContent("", "the server gave null in the place of a text")
    chunks = content if isinstance(content, list) else [content]
    texts: list[str] = []
    for chunk in chunks:
        kind = chunk.get("type") if isinstance(chunk, dict) else None
        if isinstance(chunk, str):
            texts.append(chunk)
        elif kind in _TEXT_TYPES and isinstance(chunk.get("text"), str):
            texts.append(chunk["text"])
        elif kind not in _THOUGHT_TYPES:
            named = f"a chunk of type {str(kind)[:40]!r}" if kind else "a chunk without a type"
            return ReplyContent("", f"the server's content holds {named}, which is no text")
    if chunks and not texts:
        return ReplyContent("", f"the model thought and wrote no answer: {_THINKING_REMEDY}")
    return ReplyContent("".join(texts))
