"""Ask an `/embeddings` endpoint for vectors, in requests that the server accepts.

How many texts and how long a text it takes, no server says beforehand: what it refuses is divided,
and one text that is too long by itself is cut, until it is taken. A text's cut depends on the text
and the server alone, never on what was asked beside it, so that its vector does not either.
"""

import logging
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.embed.endpoint.reply import read_vectors
from distill.errors import UserError
from distill.recipe import ServedModel
from distill.remote.client import ServerClient
from distill.remote.faults import RefusedPrompt
from distill.remote.request import ServerRequest

OnVectors = Callable[[list[int], NDArray[np.float64]], None]
"""(numbers of texts, their vectors (texts, dimensions))"""

_FIRST_WAIT = 1.0
_REPLY_BYTES = 16 << 20
_REPLY_BYTES_A_TEXT = 512 << 10
"""16,384 numbers of 32 characters."""
_MOST_CUTS = 40
_SHARE = 0.7
"""Of a text that is too long, where the server does not say how much too long it is."""
_SAFETY = 0.95
_SHORTEST = 32
"""Bytes; a server that refuses so short a text does not refuse its length."""
_STATUS = len("400:")
_NUMBERS = re.compile(r"(?<![\w.])\d{1,7}(?![\d.]*\w)")
_THINGS = r"(text|input|item|request|document|sentence|string|element)s?"
_TOO_MANY = re.compile(
    rf"batch.?size|array|too many {_THINGS}|number of {_THINGS}|{_THINGS} per"
    rf"|(at most|up to|more than|maximum of|limit of) \d+ (\w+ )?{_THINGS}|larger than \d+",
    re.IGNORECASE,
)
_log = logging.getLogger(__name__)


@dataclass
class _Batch:
    """The numbers of the texts of a request.

    Args:
        of: the refused batch that this is a half of.
        refused: why it was.
        taken: number of its halves that the server took.
    """

    numbers: list[int]
    of: "_Batch | None" = None
    refused: str = ""
    taken: int = 0


class EndpointClient:
    """A client of one server's embeddings endpoint.

    Raises:
        UserError: if the address is none.
    """

    def __init__(self, served: ServedModel, model: str) -> None:
        self.http = ServerClient(served, model, _FIRST_WAIT)
        self.url = self.http.url
        self.model = model
        self._settings = served
        self._most_texts = sys.maxsize
        self._most_bytes = sys.maxsize
        self._warned_subjects: set[str] = set()

    def embed(
        self,
        texts: Sequence[str],
        batches: Sequence[list[int]],
        fields: dict[str, Any],
        arrived: OnVectors,
    ) -> None:
        """Ask for the vectors of all texts.

        Args:
            batches: the numbers of the texts that may be sent together.
            fields: of each request, beside the model and its texts.
            arrived: called with a request's vectors the moment they are there.

        Raises:
            UserError: if the server refuses, does not answer in spite of all retries, or gives what
                are no vectors. No key is in it.
        """
        _EmbedCall(self, self.http, list(texts), batches, fields, arrived).run()

    def embed_first(self, text: str, fields: dict[str, Any]) -> NDArray[np.float64]:
        """Embed one text, to find out how the server takes requests: (1, dimensions)."""
        vectors: list[NDArray[np.float64]] = []
        refused: list[RefusedPrompt] = []
        for _ in range(2):
            ask = self.ask([text], fields)
            self.http.ask_all([ask], lambda _, v: vectors.append(v), lambda _, r: refused.append(r))
            if vectors:
                return vectors[0]
            # Some servers do not say which field it is that they do not take.
            if "encoding_format" in self.http.left_out:
                break
            self.http.left_out.add("encoding_format")
        raise self.make_refusal(refused[0], None)

    def ask(self, texts: list[str], fields: dict[str, Any]) -> ServerRequest:
        """Make the request for the vectors of these texts."""
        count = len(texts)
        return ServerRequest(
            "/embeddings",
            {"model": self.model, "input": texts, "encoding_format": "float", **fields},
            read=lambda reply: read_vectors(reply, count),
            form="several" if count > 1 else "one",
            most_bytes=_REPLY_BYTES + count * _REPLY_BYTES_A_TEXT,
            keeps_words=False,
        )

    def count_fitting(self, texts: Sequence[str]) -> int:
        """Count how many of these texts, from the first on, one request may hold, as far as the
        server has shown; at least one."""
        most = min(len(texts), self._most_texts)
        room = self._most_bytes
        for count, text in enumerate(texts[:most]):
            room -= len(text.encode(errors="replace"))
            if room < 0:
                return max(1, count)
        return most

    def learn(self, texts: Sequence[str], reason: str, most: int | None = None) -> None:
        """Learn from a refused request: it had too many texts if the server names a number of
        texts, too long ones if it speaks of tokens, and else too many."""
        key = self._settings.name_key
        if most is None and "token" in reason:
            half = sum(len(text.encode(errors="replace")) for text in texts) // 2
            self._most_bytes = min(self._most_bytes, half)
            smaller = f"a smaller {key('batch_tokens')} saves the refused ones"
            self.warn_once("length", f"takes shorter requests ({reason}): {smaller}")
            return
        self._most_texts = min(self._most_texts, most or (len(texts) + 1) // 2)
        smaller = f"{key('batch_texts')} saves the refused ones"
        self.warn_once("texts", f"takes fewer texts in a request ({reason}): {smaller}")

    def warn_once(self, subject: str, what: str) -> None:
        """Warn once for each subject."""
        if subject not in self._warned_subjects:
            self._warned_subjects.add(subject)
            _log.warning("%s %s", self.url, what)

    def warn_of_cut(self, reason: str) -> None:
        """Warn, once, that the server takes no texts of this length and each is cut."""
        key = self._settings.name_key("max_tokens")
        self.warn_once(
            "cut",
            f"refuses texts that are too long ({reason}): each is cut to what it takes; a smaller "
            f"{key} saves the refused requests",
        )

    def make_refusal(self, fault: RefusedPrompt, text: str | None) -> UserError:
        """Make the error for a text that the server refuses at any length; None: it refuses even a
        single word."""
        key = self._settings.name_key
        what = f"does not embed with model {self.model!r} as it is asked ({fault.reason})"
        if text is not None:
            what = f"refuses a text for model {self.model!r} ({fault.reason}): {text[:80]!r}"
        return UserError(
            self.url,
            what,
            f"fix what the server names: a field that it wants goes into {key('extra_body')}, or "
            f"{key('query_extra_body')} and {key('document_extra_body')} where it is not the same "
            "for both; or take the text out",
        )


class _EmbedCall:
    """One call of `embed`: the texts still to be sent, and those that were split."""

    def __init__(
        self,
        client: EndpointClient,
        http: ServerClient,
        texts: list[str],
        batches: Sequence[list[int]],
        fields: dict[str, Any],
        arrived: OnVectors,
    ) -> None:
        self._client = client
        self._http = http
        self._texts = texts
        self._fields = fields
        self._arrived = arrived
        self._waiting = deque(_Batch(numbers) for numbers in batches)
        self._sent: list[_Batch] = []
        self._cuts: dict[int, int] = {}

    def run(self) -> None:
        while self._waiting:  # what was refused last comes back when the others have ended
            self._sent = []
            some = len(self._waiting)
            self._http.ask_all(
                self._iterate_requests(), self._receive, self._handle_refusal, at_once=some
            )

    def _iterate_requests(self) -> Iterator[ServerRequest]:
        while self._waiting:
            batch = self._waiting.popleft()
            texts = self._get_texts(batch)
            most = self._client.count_fitting(texts)
            if most < len(texts):
                self._waiting.appendleft(_Batch(batch.numbers[most:]))
                batch = _Batch(batch.numbers[:most])
            self._sent.append(batch)
            yield self._client.ask(self._get_texts(batch), self._fields)

    def _get_texts(self, batch: _Batch) -> list[str]:
        return [self._texts[number] for number in batch.numbers]

    def _receive(self, place: int, vectors: NDArray[np.float64]) -> None:
        batch = self._sent[place]
        self._arrived(batch.numbers, vectors)
        if (whole := batch.of) is not None:
            whole.taken += 1
            if whole.taken == 2:  # both halves as they were: together they were too much
                self._client.learn(self._get_texts(whole), whole.refused)

    def _handle_refusal(self, place: int, fault: RefusedPrompt) -> None:
        batch = self._sent[place]
        if len(batch.numbers) > 1:
            self._divide(batch, fault)
            return
        [number] = batch.numbers
        text = self._texts[number]
        cuts = self._cuts.get(number, 0)
        size = len(text.encode(errors="replace"))
        if not fault.too_long or cuts == _MOST_CUTS or size <= _SHORTEST:
            raise self._client.make_refusal(fault, text)
        self._client.warn_of_cut(fault.reason)
        self._cuts[number] = cuts + 1
        self._texts[number] = cut(text, int(size * estimate_fitting_share(fault.reason, size)))
        # On its own: what was cut says nothing of the batch that it was part of.
        self._waiting.append(_Batch([number]))

    def _divide(self, batch: _Batch, fault: RefusedPrompt) -> None:
        if most := find_named_limit(fault.reason, len(batch.numbers)):
            self._client.learn(self._get_texts(batch), fault.reason, most)
            self._waiting.appendleft(batch)
            return
        batch.refused = fault.reason
        middle = (len(batch.numbers) + 1) // 2
        parts = (batch.numbers[:middle], batch.numbers[middle:])
        self._waiting.extend(_Batch(numbers, of=batch) for numbers in parts)


def find_named_limit(reason: str, sent: int) -> int | None:
    """Find the greatest number of texts in a request that a refusal names; None if it is not about
    that."""
    if not _TOO_MANY.search(reason):
        return None
    numbers = [int(digits) for digits in _NUMBERS.findall(reason[_STATUS:])]
    return max((number for number in numbers if 0 < number < sent), default=None)


def estimate_fitting_share(reason: str, size: int) -> float:
    """Estimate which share of a text of `size` bytes the server accepts, by the two numbers of
    tokens that its refusal names (the text's and the limit) with some margin; `_SHARE` if it names
    none."""
    numbers = sorted({int(digits) for digits in _NUMBERS.findall(reason[_STATUS:])})
    sizes = [number for number in numbers if size / 20 <= number <= size + 8]
    limits = [number for number in numbers if sizes and 16 <= number < sizes[-1]]
    return max(0.05, _SAFETY * limits[-1] / sizes[-1]) if limits else _SHARE


def cut(text: str, size: int) -> str:
    """Truncate a text to `size` bytes of UTF-8. A token of Chinese has as many bytes as one of
    English, and far fewer characters."""
    return text.encode(errors="replace")[: max(1, size)].decode(errors="ignore") or text[:1]
