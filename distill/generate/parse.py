"""What the LLM wrote -> (task, query), or the reason why not. Only well-formed output is taken:
nothing is repaired, for a repaired query is one that nobody wrote."""

import re
import unicodedata
from collections.abc import Collection
from typing import NamedTuple

_FORM = re.compile(r"\A[ \t]*(?P<task>[^\n]+)\n[ \t]*Query:[ \t]*(?P<query>[^\n]+?)[ \t]*\n*\Z")
_POINTS_AT_TEXT = re.compile(
    r"\b(?:this|the|following|above|given) (?:passage|text|paragraph|document|article|excerpt)\b",
    re.IGNORECASE,
)
_FEWEST_WORDS = 2
_MOST_WORDS = 40
_MOST_TASK_WORDS = 40


class Parsed(NamedTuple):
    """Either task and query, or the reason."""

    task: str = ""
    query: str = ""
    reason: str | None = None


def normalise(text: str) -> str:
    """For comparing texts: NFKC, case folded, words alone."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded))


def parse(output: str, finished: bool, example_queries: Collection[str]) -> Parsed:
    """`example_queries` are the few-shot examples' own, normalised: small models copy them."""
    match = _FORM.match(output)
    if match is None:
        return Parsed(reason="malformed" if finished else "unfinished")
    if not finished:
        return Parsed(reason="unfinished")
    task, query = match["task"].strip(), match["query"].strip().strip('"“”')
    words = len(query.split())
    if words < _FEWEST_WORDS:
        return Parsed(reason="query too short")
    if words > _MOST_WORDS or len(task.split()) > _MOST_TASK_WORDS:
        return Parsed(reason="too long")
    if normalise(query) in example_queries:
        return Parsed(reason="copies an example")
    if normalise(query) == normalise(task):
        return Parsed(reason="query is the task")
    if _POINTS_AT_TEXT.search(query):
        return Parsed(reason="points at the passage")
    return Parsed(task, query)
