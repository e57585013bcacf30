"""Replies of reasoning models, from servers and engines that leave the thoughts in the text."""

import re
from collections.abc import Sequence

_NAMES = r"(?:seed:)?(?:think|thinking|thought|thoughts|reasoning|reflection|analysis)"
_OPENING = re.compile(
    rf"\s*(?:<{_NAMES}>|\[{_NAMES}\]|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>"
    r"|<\|channel\|>(?:analysis|commentary)\s*<\|message\|>)",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"<[/／]{_NAMES}>|\[/{_NAMES}\]|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>"
    r"|<\|channel\|>final\s*<\|message\|>",
    re.IGNORECASE,
)
_BEGINNING = re.compile(
    r"\s*(?:<\|(?:begin_of_solution|START_RESPONSE)\|>|<answer>|<response>)?\s*", re.IGNORECASE
)
_WRAPPING = re.compile(
    r"\A\s*(?:<\|(?:begin_of_solution|START_RESPONSE)\|>|<answer>|<response>)?(.*?)"
    r"(?:<\|(?:end_of_solution|END_RESPONSE|return|end)\|>|</answer>|</response>)?\s*\Z",
    re.DOTALL | re.IGNORECASE,
)

NO_ANSWER = "and wrote no answer"
"""In the fault of a reply that a server gives as thoughts alone."""


def find_end_of_thoughts(text: str) -> int | None:
    """Find where the reply begins after its thoughts: 0 where there are none, None while they have
    not ended. Thoughts may lack their opening tag, which many chat templates write themselves, be
    empty, or be several in a row."""
    end = 0
    while True:
        opened = _OPENING.match(text, end)
        if opened is None and end:
            return end
        closed = _CLOSING.search(text, opened.end() if opened else 0)
        if closed is None:
            return None if opened else end
        end = closed.end()


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Cut a text before its earliest stop string. One within the thoughts, or between them and the
    reply's first word, does not count: stop strings apply to the reply."""
    end = find_end_of_thoughts(text)
    if end is None:
        return text
    begin = _BEGINNING.match(text, end) if end else None
    start = begin.end() if begin else 0
    ends = [at for at in (text.find(one, start) for one in stop) if at >= 0]
    return text[: min(ends)] if ends else text


def is_cut_in_thoughts(text: str, finished: bool, stop: Sequence[str]) -> bool:
    """Return whether a text ended within its thoughts, where a stop string that another program
    applied may have cut it: without stop strings the reply may still follow."""
    return bool(stop) and finished and find_end_of_thoughts(text) is None


def strip_thoughts(text: str) -> str | None:
    """Return the reply without its thoughts; None where the thoughts never ended."""
    end = find_end_of_thoughts(text)
    if end is None:
        return None
    if end == 0:
        return text
    wrapped = _WRAPPING.match(text[end:])
    return wrapped[1] if wrapped else text[end:]
