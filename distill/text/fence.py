"""Replies that stand in a code block, as chat models like to write what is to be read exactly."""

import re

_FENCED = re.compile(r"\A\s*```[ \t]*\w*[ \t]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL)


def within_fence(text: str) -> str:
    """The inside of a code block that is the whole of `text`; any other text as it is."""
    fenced = _FENCED.match(text)
    return text if fenced is None or "```" in fenced[1] else fenced[1]
