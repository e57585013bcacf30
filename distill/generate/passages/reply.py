"""Parse an LLM's reply into a task and a query, or into the reason why it cannot be used. Only
well-formed output is taken: nothing is repaired, for a repaired query is one that nobody wrote."""

import re
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from distill.llm.thoughts import strip_thoughts
from distill.text.normalize import normalize_words
from distill.text.sanitize import sanitize_for_prompt, strip_code_fence

ReplyOrder = Literal["task, query", "query, task", "query"]
"""The lines of a reply; in the last it is the prompt's file that says the task."""

_GAP = r"[ \t\u00a0\u202f\u3000]*"
"""Of any width: what breaks no line, and is typed by models of French and Chinese."""
_LABEL = (
    rf"{_GAP}(?:[-*+>#]+[ \t]+)?(?P<{{name}}_opens>[*_`]{{{{0,3}}}}){{name}}"
    rf"(?P<{{name}}_closes>[*_`]{{{{0,3}}}}{_GAP}[:\uff1a][*_`]{{{{0,3}}}}){_GAP}"
)
"""A label as a line begins with it, plain or in Markdown: `**Query:**`, `- *Query*:`, `### Query:`.
"""
_LINE = r"(?![*_`]{0,3}(?:Task|Query)[*_`]{0,3}:)\S[^\n]*"
_EMPTY_LINES = r"(?:[ \t]*\n)+"


def _compile_form(first: str, second: str = "") -> re.Pattern[str]:
    """Compile the form of a reply, whose first line's label may be missing: in a text that is
    continued the prompt ends in it. What a chat model adds behind an empty line is not part of its
    reply."""
    form = rf"\A\s*(?:{_LABEL.format(name=first)})?(?P<{first}>{_LINE})"
    if second:
        label = _LABEL.format(name=second)
        form += rf"{_EMPTY_LINES}{label}(?P<{second}>{_LINE})"
    return re.compile(rf"{form}(?:\s*\Z|(?P<rest>[ \t]*\n[ \t]*\n.*))", re.DOTALL)


_FORMS: dict[ReplyOrder, re.Pattern[str]] = {
    "task, query": _compile_form("Task", "Query"),
    "query, task": _compile_form("Query", "Task"),
    "query": _compile_form("Query"),
}


class ParsedQuery(NamedTuple):
    """The result of parsing a reply: either task and query, each one line of plain text, or the
    reason why there are none. Where a prompt asks for the query alone, the task is empty here."""

    task: str = ""
    query: str = ""
    reason: str | None = None


def parse_reply(
    output: str,
    finished: bool,
    example_queries: Collection[str],
    order: ReplyOrder = "task, query",
) -> ParsedQuery:
    """Read the lines `Task: ...` and `Query: ...` in the prompt's order, or a query alone, behind
    the thoughts of a model that thinks.

    Args:
        example_queries: the few-shot examples' own, normalised: small models copy them.
    """
    reply = strip_thoughts(output)
    if reply is None:
        return ParsedQuery(reason="unfinished")
    match = _FORMS[order].match(strip_code_fence(reply))
    if not finished and (match is None or match["rest"] is None):
        return ParsedQuery(reason="unfinished")
    if match is None:
        return ParsedQuery(reason="malformed")
    groups = match.groupdict()
    task = _get_line(groups, "Task") if "Task" in groups else None
    return check_query(task, _get_line(groups, "Query"), example_queries)


def _get_line(groups: Mapping[str, str | None], name: str) -> str:
    """Return what stands behind a label. Emphasis that begins before the label may end behind the
    line: `**Query: how high do swifts fly**`."""
    line, opens = (groups[name] or "").strip(), groups[f"{name}_opens"]
    if opens and not set(opens) & set(groups[f"{name}_closes"] or ""):
        line = line.removesuffix(opens)
    return _strip_emphasis(line)


def _strip_emphasis(line: str) -> str:
    """Return a line without the Markdown emphasis around the whole of it."""
    return re.sub(r"\A([*_`]{1,3})(?=\S)(.*\S)\1\Z", r"\2", line.strip())


def check_query(task: str | None, query: str, example_queries: Collection[str]) -> ParsedQuery:
    """Return task and query as data (they enter later prompts), unless one is empty or is a
    copy."""
    query = sanitize_for_prompt(query).strip('"“”').strip()
    if not normalize_words(query):
        return ParsedQuery(reason="malformed")
    if normalize_words(query) in example_queries:
        return ParsedQuery(reason="copies an example")
    if task is None:
        return ParsedQuery(query=query)
    task = sanitize_for_prompt(task)
    if not normalize_words(task):
        return ParsedQuery(reason="malformed")
    if normalize_words(query) == normalize_words(task):
        return ParsedQuery(reason="query is the task")
    return ParsedQuery(task, query)
