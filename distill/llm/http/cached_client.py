"""Answers of a server, each paid for once: out of the cache, and the rest from the server."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.recipe import LanguageModel
from distill.remote.client import ServerClient, ServerReply, ServerRequest, read_completion
from distill.remote.faults import MalformedReply, RefusedPrompt
from distill.store.request_cache import RequestCache, request_key

RequestBody = dict[str, Any]
ReplyReader = Callable[[int, ServerReply, int], Any]
"""(the number of a body, its reply, the number of a choice in it) -> what is kept of that choice,
in JSON's types. It raises nothing: of what it cannot read it gives a `fault` in words, with the
choice as it came."""
DrawNumbers = list[int]
"""The numbers of bodies that differ in their seed alone, and so can be one request."""

RESERVED_FIELDS = {
    "model", "prompt", "messages", "n", "stream", "seed", "stop", "max_tokens", "temperature",
    "top_p", "response_format", "structured_outputs", "logprobs", "top_logprobs", "echo",
}  # fmt: skip
_MIN_REFUSALS = 4
"""So many prompts refused, and none answered, are no accident."""
_MAX_TOKENS = 2**53
_UNUSABLE_SUFFIX = b" unusable"
_log = logging.getLogger(__name__)


class CachedClient:
    """Asks a server through the cache.

    `tokens` counts prompt and new tokens as the server counts them, `shared` the prompt tokens that
    it says it had cached, `cached` the answers that were kept from before, `failures` the requests
    that failed, whether or not they were repeated.

    Args:
        cache: the SQLite file of replies.
        first_wait: seconds before a request is repeated for the first time.

    Raises:
        UserError: if the settings are not those of a server, or the cache cannot be used.
    """

    def __init__(self, settings: LanguageModel, cache: Path, first_wait: float = 1.0) -> None:
        settled = sorted(RESERVED_FIELDS & settings.extra_body.keys())
        if settled:
            raise UserError(
                "llm.extra_body",
                f"holds {', '.join(settled)}, which other settings of the recipe decide",
                "set it there (llm.model, generate.temperature, ...) and take it out here",
            )
        self.settings = settings
        self.client = ServerClient(settings, settings.model, first_wait)
        self.cache = RequestCache(cache)
        self.tokens = dict.fromkeys(("prompt", "shared", "new", "cached", "failures"), 0)
        self._answered = False
        self._several = True

    def body(self, **fields: Any) -> RequestBody:
        """A request's body: the model, these fields, and the recipe's own."""
        return {"model": self.settings.model, **fields, **self.settings.extra_body}

    def of(
        self, path: str, bodies: Sequence[RequestBody], read: ReplyReader, marks: Sequence[Any] = ()
    ) -> list[Any]:
        """What `read` takes of each body's answer, in order; a `RefusedPrompt` where there is none.

        Neighbours that differ in their seed alone go as one request with n choices, and as single
        ones where the server returns fewer. Each choice is kept under its own body and seed.

        Args:
            marks: for each body what else, unknown to the server, `read` depends on.

        Raises:
            UserError: see `ServerClient.ask_all`; or if the server refuses every prompt.
        """
        marked = zip(bodies, marks, strict=True) if marks else ((body, None) for body in bodies)
        keys = [request_key(path, body, mark) for body, mark in marked]
        # Earlier versions kept nothing, as a reply, of one that had not what was read for.
        found = self.cache.find(keys).items()
        known: dict[bytes, Any] = {key: one for key, one in found if one not in (None, {}, [])}
        self.tokens["cached"] += sum(key in known for key in keys)
        self._answered = self._answered or bool(known)
        for several in (True, False) if self._several else (False,):
            asked = batch_draws(keys, bodies, known, several)
            self._ask(path, bodies, keys, asked, read, known)
        answers = [known[key] for key in keys]
        self._not_all_refused([one for one in answers if isinstance(one, RefusedPrompt)])
        return answers

    def _ask(
        self,
        path: str,
        bodies: Sequence[RequestBody],
        keys: Sequence[bytes],
        asked: list[DrawNumbers],
        read: ReplyReader,
        known: dict[bytes, Any],
    ) -> None:
        def arrived(place: int, reply: ServerReply) -> None:
            draws = asked[place]
            self._answered = True
            choices = min(len(draws), len(reply["choices"]))
            for choice, number in enumerate(draws[:choices]):
                known[keys[number]] = read(number, reply, choice)
                self._keep(keys[number], known[keys[number]])
            self._count(reply)
            if choices < len(draws) and self._several:
                self._several = False
                _log.warning("%s returns one choice a request: n is not used", self.client.url)

        def refused(place: int, fault: RefusedPrompt) -> None:
            # Of several draws together it may be their number that is refused: they go alone.
            if len(asked[place]) == 1:
                known[keys[asked[place][0]]] = fault

        asks = [
            ServerRequest(
                path,
                merge_draws(bodies[draws[0]], len(draws)),
                read=partial(self._read, keys[draws[0]]),
                form=path,
            )
            for draws in asked
        ]
        before = self.client.failures
        try:
            self.client.ask_all(asks, arrived, refused)
        finally:
            self.tokens["failures"] += self.client.failures - before

    def _read(self, key: bytes, reply: Any) -> ServerReply:
        """A reply, kept as it came where it is in no form that is known: it may have been paid for
        all the same."""
        try:
            return read_completion(reply)
        except MalformedReply:
            if isinstance(reply, dict) and "error" not in reply:
                self._keep(key, {"fault": "it is in no known form", "raw": reply})
            raise

    def _keep(self, key: bytes, reply: Any) -> None:
        """Keep what was paid for. What cannot be used is kept beside, so that a later run asks
        again."""
        unusable = isinstance(reply, dict) and "fault" in reply
        self.cache.keep(sha256(key + _UNUSABLE_SUFFIX).digest() if unusable else key, reply)

    def first(
        self, path: str, ways: dict[str, RequestBody], holds: Callable[[ServerReply], bool]
    ) -> str | None:
        """The first of several ways to ask for the same that this server answers with a reply for
        which `holds`, if there is one. It is kept, for this address; that there is none is found
        out again by the next process."""
        keys = {way: request_key(self.client.url + path, body) for way, body in ways.items()}
        known = self.cache.find(keys.values())
        for way, key in keys.items():
            if key in known:
                return way
        for way, body in ways.items():
            reply = self._probe(path, body)
            if reply is not None and holds(reply):
                self.cache.keep(keys[way], True)
                return way
        return None

    def _probe(self, path: str, body: RequestBody) -> ServerReply | None:
        replies: list[ServerReply] = []
        probe = ServerRequest(path, body, probe=True, form=path)
        self.client.ask_all([probe], lambda _, reply: replies.append(reply), lambda _, fault: None)
        for reply in replies:
            self._count(reply)
        return replies[0] if replies else None

    def _count(self, reply: ServerReply) -> None:
        usage = read_usage(reply)
        self.tokens["prompt"] += read_count(usage.get("prompt_tokens"))
        self.tokens["new"] += read_count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            self.tokens["shared"] += read_count(details.get("cached_tokens"))

    def _not_all_refused(self, refused: Sequence[RefusedPrompt]) -> None:
        if self._answered or len(refused) < _MIN_REFUSALS:
            return
        fields = ", ".join(self.settings.extra_body)
        own = f", llm.extra_body without a field that it does not know ({fields})" if fields else ""
        raise UserError(
            self.client.url,
            f"refuses every prompt for model {self.settings.model!r} ({refused[0].reason})",
            "mend what the server names: llm.form: completion where the model has no chat "
            "template, a lower generate.max_passage_words where the prompts are too long" + own,
        )


def batch_draws(
    keys: Sequence[bytes], bodies: Sequence[RequestBody], known: dict[bytes, Any], several: bool
) -> list[DrawNumbers]:
    """What is still to be asked, each once; with `several`, neighbours that differ in their seed
    alone are together."""
    asked: list[DrawNumbers] = []
    seen = set(known)
    for number, key in enumerate(keys):
        if key in seen:
            continue
        seen.add(key)
        if several and asked and _drop_seed(bodies[asked[-1][0]]) == _drop_seed(bodies[number]):
            asked[-1].append(number)
        else:
            asked.append([number])
    return asked


def read_usage(reply: ServerReply) -> dict[str, Any]:
    """What the server says that a reply took; nothing where that is no object."""
    usage = reply.get("usage")
    return usage if isinstance(usage, dict) else {}


def read_count(value: Any) -> int:
    """A number of tokens; 0 for what is none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if number and 0 <= value < _MAX_TOKENS else 0


def merge_draws(body: RequestBody, draws: int) -> RequestBody:
    """One request for so many draws, with the first one's seed."""
    return {**body, "n": draws} if draws > 1 else body


def _drop_seed(body: RequestBody) -> RequestBody:
    return {field: value for field, value in body.items() if field != "seed"}
