"""One request to a server, and the same with another text."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from distill.remote.faults import read_completion

MOST_BYTES = 64 << 20
"""Of a reply: a prompt of 8,000 tokens with 20 log-probabilities at each has 10 MB."""


class ServerRequest(NamedTuple):
    """A request: a path below the base URL, and the body. A probe asks whether the server can do
    something: that it cannot is an answer, and ends or changes nothing else.

    `read` takes what is needed of the reply's JSON, or raises MalformedReply. Requests of one
    `form` are answered alike: once one was answered well, a malformed reply to another is an
    accident.
    """

    path: str
    body: dict[str, Any]
    probe: bool = False
    read: Callable[[Any], Any] = read_completion
    form: str = "completion"
    most_bytes: int = MOST_BYTES
    keeps_words: bool = True
    """Whether what `read` takes may hold what the server wrote, and so the key."""

    def replace_text(self) -> "ServerRequest":
        """Return a probe that differs in its text alone, which is short and new, so that no cache
        answers in the server's place. Any reply to it is one."""
        text = f"number {random.getrandbits(48)}"
        body = dict(self.body)
        if "messages" in body:
            body["messages"] = [{**message, "content": text} for message in body["messages"]]
        elif "input" in body:
            body["input"] = [text] * len(body["input"])
        else:
            body["prompt"] = text
        return self._replace(body=body, probe=True, read=lambda reply: None, form="any reply")
