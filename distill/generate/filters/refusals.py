"""Refusals, boilerplate, and queries that point at "the passage", which nobody who searches has
before them. The patterns are English and prefer to let pass: "I cannot fall asleep" and "how felt
the passage of time" are queries."""

import re

from distill.generate.filters.candidate import GeneratedQuery

_WRITE = (
    "help|assist|comply|fulfill?|provide|create|generate|write|produce|formulate|come up with|"
    "answer|respond|summari[sz]e|determine|access|see (?:the|any)|find (?:the|any)|do that"
)
_THING = "query|queries|question|task|example|passage|title|claim|sentence|search|keywords?|answer"
_REFUSALS = [
    r"^(?:i'?m|i am|we'?re|we are)?\s*(?:so |very |really )?sorry\b[\s,.!:;]*(?:but|i|we|as|,|$)",
    r"^i apologi[sz]e\b",
    rf"^(?:unfortunately,? )?(?:i|we) (?:cannot|can'?t|can not|could ?n[o']t|won'?t|will not|"
    rf"am unable to|am not able to|are unable to|do not|don'?t) (?:{_WRITE})\b",
    r"\bas an? (?:(?:ai|artificial intelligence|(?:large )?language) (?:\w+ )?"
    r"(?:model|assistant)\b|ai\s*[,.])",
    r"^(?:there is |there's )?not enough (?:information|context)\b",
    r"^(?:i|we) (?:need|would need|require) more (?:information|context)\b",
]
_BOILERPLATE = [
    rf"^here(?:'s|’s| is| are)\b.*\b(?:{_THING})\b",
    r"^(?:sure|certainly|of course|absolutely|okay|ok)(?: thing)?\s*(?:[,!:.]|$)",
    rf"^(?:the |a |my |your |search |user )*(?:{_THING}|response|output)\s*(?:\d+\s*)?:",
    # Not <title>, {document} or [text], which code and markup are full of.
    r"[<\[{]+\s*/?\s*(?:(?:search |user |the |a )*(?:query|queries|question|task|passage)"
    r"|(?:insert|your)\b[^>\]}]*)(?: (?:text|here|goes here))?\s*[>\]}]+",
    rf"\b(?:your|insert|enter|write|type) (?:your |a |the )?(?:search )?(?:{_THING}) here\b",
    r"<\s?\|[^|>]{1,40}\|>|<\s?/?s>|\[\s?/?INST\]|<\s?(?:start|end)_of_turn>",
    r"\blorem ipsum\b",
    r"^\W*(?:n/?a|none|null|nil|nan|undefined|unknown|todo|tbd|not applicable|not available|"
    rf"no (?:{_THING})|(?:{_THING})(?: \d+)?|placeholder|\.\.\.)\W*$",
]
_NOUN = "(?:passage|text|paragraph|document|article|excerpt|snippet)"
_POINTS_AT_TEXT = [
    rf"\b(?:this|(?:the )?(?:following|above)|the (?:given|provided|above-mentioned)) {_NOUN}\b",
    rf"\b(?:according to|based on|mentioned in|described in|stated in|discussed in) (?:the|a) "
    rf"{_NOUN}\b",
    r"\bthe (?:passage|paragraph|article|excerpt|snippet)['’]s\b",
    # "the text" points only where its clause ends or says something of it: "the text colour" and
    # "the passage of time" do not.
    rf"\bthe {_NOUN}(?=\s+(?:above|below|says?|sa(?:id|ys)|"
    r"mentions?|mentioned|describes?|described|states?|stated|discuss(?:es|ed)?|suggests?|claims?|"
    r"explains?|talks?|refers?|provide[sd]?|given|is about|about|tells?|implies|imply)\b)",
]
_ENDING = re.compile(rf"\bthe ({_NOUN})(?=\s*(?:[?.!,;:)\"”]|$))", re.IGNORECASE)


def _compile_any(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


_NO_QUERY = _compile_any(_REFUSALS + _BOILERPLATE)
_POINTS = _compile_any(_POINTS_AT_TEXT)


def is_refusal(text: str) -> bool:
    """Return whether an LLM declines, chats, or leaves a placeholder instead of a query."""
    return _NO_QUERY.search(text.strip().replace("’", "'")) is not None


def mentions_text(query: str, passage: str) -> bool:
    """Return whether a query speaks of the text that it was written from. "How do I print the
    document" does not where the passage is about documents."""
    if _POINTS.search(query):
        return True
    nouns = _ENDING.findall(query)
    return any(not re.search(rf"\b{noun}", passage, re.IGNORECASE) for noun in nouns)


def reject_refusals(draw: GeneratedQuery) -> str | None:
    """Drop what is no query, and queries that only their own passage makes sense of. What users
    asked is never a refusal."""
    if not draw.has_seed:
        return None
    if is_refusal(draw.query):
        return "refusal or boilerplate"
    return "points at the passage" if mentions_text(draw.query, draw.passage_text) else None
