"""Texts from outside, made harmless to a terminal."""

import re

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Bytes that a terminal obeys, and what turns the direction of a line."""


def seen(text: str) -> str:
    """A text from outside without what a terminal would take for a command."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)
