"""A client that caches every reply of a server, so that each one is paid for once."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.recipe import LanguageModel
from distill.remote.client import ServerClient
from distill.remote.faults import MalformedReply, RefusedPrompt, ServerReply, read_completion
from distill.remote.request import ServerRequest
from distill.runtime.progress import count_requests
from distill.store.request_cache import RequestCache, make_request_key

RequestBody = dict[str, Any]
ReplyReader = Callable[[int, ServerReply, int], Any]
"""(number of a body, its reply, number of a choice in it) -> what the cache stores of that choice,
in JSON's types. It raises nothing: for a choice that it cannot read it returns a `fault` in words,
with the choice as received."""
DrawNumbers = list[int]
"""Numbers of bodies that differ only in their seed, and so can be sent as one request."""

RESERVED_FIELDS = {
    "model", "prompt", "messages", "n", "stream", "seed", "stop", "max_tokens", "temperature",
    "top_p", "response_format", "structured_outputs", "logprobs", "top_logprobs", "echo",
}  # fmt: skip
"""Fields of a request that other settings of the recipe decide."""
_MIN_REFUSALS = 4
"""From this many refused prompts on, with none answered, the cause is taken to be systematic."""
_MAX_TOKENS = 2**53
_UNUSABLE_SUFFIX = b" unusable"
_log = logging.getLogger(__name__)


class CachedClient:
    """Sends requests to a server unless their replies are in the cache.

    `tokens` counts prompt and new tokens as the server counts them, `shared` the prompt tokens that
    the server had cached, `cached` the replies found in the cache, `failures` the requests that
    failed, whether or not they were repeated.

    Args:
        cache: the SQLite file of replies.
        first_wait: seconds before a request is repeated for the first time.

    Raises:
        UserError: if the settings are not those of a server, or the cache cannot be used.
    """

    def __init__(self, settings: LanguageModel, cache: Path, first_wait: float = 1.0) -> None:
        reserved = sorted(RESERVED_FIELDS & settings.extra_body.keys())
        if reserved:
            raise UserError(
                settings.name_key("extra_body"),
                f"holds {', '.join(reserved)}, which other settings of the recipe decide",
                f"set it there ({settings.name_key('model')}, generate.temperature, ...) and take "
                "it out here",
            )
        self.settings = settings
        self.server = ServerClient(settings, settings.model, first_wait)
        self.cache = RequestCache(cache)
        self.tokens = dict.fromkeys(("prompt", "shared", "new", "cached", "failures"), 0)
        self._has_answers = False
        self._supports_n = True

    def make_body(self, **fields: Any) -> RequestBody:
        """Make a request's body of the model, these fields and the recipe's `extra_body`."""
        return {"model": self.settings.model, **fields, **self.settings.extra_body}

    def fetch(
        self,
        path: str,
        bodies: Sequence[RequestBody],
        read: ReplyReader,
        marks: Sequence[Any] = (),
        share: float = 0,
    ) -> list[Any]:
        """Fetch what `read` takes of each body's reply, in order; a `RefusedPrompt` where the
        server refuses one.

        Neighbours that differ only in their seed are sent as one request with n choices, and as
        single ones where the server returns fewer. Each choice is cached under its own body and
        seed.

        Args:
            marks: for each body what else, unknown to the server, `read` depends on.
            share: how much of a request to the engine a body is, for the count of progress.

        Raises:
            UserError: see `ServerClient.ask_all`; or if the server refuses every prompt.
        """
        marked = zip(bodies, marks, strict=True) if marks else ((body, None) for body in bodies)
        keys = [make_request_key(path, body, mark) for body, mark in marked]
        # Earlier versions cached an empty result for a reply that lacked what was read from it.
        cached = self.cache.find(keys).items()
        known: dict[bytes, Any] = {key: one for key, one in cached if one not in (None, {}, [])}
        self.tokens["cached"] += sum(key in known for key in keys)
        count_requests(share * sum(key in known for key in keys))
        self._has_answers = self._has_answers or bool(known)
        for several in (True, False) if self._supports_n else (False,):
            pending = batch_draws(keys, bodies, known, several)
            self._send(path, bodies, keys, pending, read, known, share)
        results = [known[key] for key in keys]
        self._check_refusals([one for one in results if isinstance(one, RefusedPrompt)])
        return results

    def _send(
        self,
        path: str,
        bodies: Sequence[RequestBody],
        keys: Sequence[bytes],
        pending: list[DrawNumbers],
        read: ReplyReader,
        known: dict[bytes, Any],
        share: float,
    ) -> None:
        def store(place: int, reply: ServerReply) -> None:
            draws = pending[place]
            self._has_answers = True
            choices = min(len(draws), len(reply["choices"]))
            for choice, number in enumerate(draws[:choices]):
                known[keys[number]] = read(number, reply, choice)
                self._store(keys[number], known[keys[number]])
            self._count_tokens(reply)
            count_requests(share * choices)
            if choices < len(draws) and self._supports_n:
                self._supports_n = False
                _log.warning("%s returns one choice per request: n is not used", self.server.url)

        def refuse(place: int, fault: RefusedPrompt) -> None:
            # For several draws the server may refuse their number: then each is sent alone.
            if len(pending[place]) == 1:
                known[keys[pending[place][0]]] = fault

        requests = [
            ServerRequest(
                path,
                merge_draws(bodies[draws[0]], len(draws)),
                read=partial(self._read, keys[draws[0]]),
                form=path,
            )
            for draws in pending
        ]
        before = self.server.failures
        try:
            self.server.ask_all(requests, store, refuse)
        finally:
            self.tokens["failures"] += self.server.failures - before

    def _read(self, key: bytes, reply: Any) -> ServerReply:
        """Read a reply. One of unknown shape is stored as received: it may have been paid for all
        the same."""
        try:
            return read_completion(reply)
        except MalformedReply:
            if isinstance(reply, dict) and "error" not in reply:
                self._store(key, {"fault": "it is of no known shape", "raw": reply})
            raise

    def _store(self, key: bytes, reply: Any) -> None:
        """Store what was paid for. An unusable reply has a key of its own, so that a later run asks
        again."""
        unusable = isinstance(reply, dict) and "fault" in reply
        self.cache.keep(sha256(key + _UNUSABLE_SUFFIX).digest() if unusable else key, reply)

    def probe(
        self, path: str, methods: dict[str, RequestBody], accepts: Callable[[ServerReply], bool]
    ) -> str | None:
        """Find the first of several ways to make a request whose reply `accepts`; None if there is
        none. The result is cached for this address; that none works is probed again by the next
        process.

        Args:
            methods: bodies by the name of the method.
        """
        keys = {
            name: make_request_key(self.server.url + path, body) for name, body in methods.items()
        }
        known = self.cache.find(keys.values())
        for name, key in keys.items():
            if key in known:
                return name
        for name, body in methods.items():
            reply = self._send_probe(path, body)
            if reply is not None and accepts(reply):
                self.cache.keep(keys[name], True)
                return name
        return None

    def _send_probe(self, path: str, body: RequestBody) -> ServerReply | None:
        replies: list[ServerReply] = []
        probe = ServerRequest(path, body, probe=True, form=path)
        self.server.ask_all([probe], lambda _, reply: replies.append(reply), lambda _, fault: None)
        for reply in replies:
            self._count_tokens(reply)
        return replies[0] if replies else None

    def _count_tokens(self, reply: ServerReply) -> None:
        usage = read_usage(reply)
        self.tokens["prompt"] += read_count(usage.get("prompt_tokens"))
        self.tokens["new"] += read_count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            self.tokens["shared"] += read_count(details.get("cached_tokens"))

    def _check_refusals(self, refused: Sequence[RefusedPrompt]) -> None:
        if self._has_answers or len(refused) < _MIN_REFUSALS:
            return
        fields = ", ".join(self.settings.extra_body)
        body, prompt_format = map(self.settings.name_key, ("extra_body", "prompt_format"))
        own = f", {body} without a field that it does not know ({fields})" if fields else ""
        raise UserError(
            self.server.url,
            f"refuses every prompt for model {self.settings.model!r} ({refused[0].reason})",
            f"fix what the server names: {prompt_format}: completion where the model has no "
            "chat template; where the prompts are too long a lower generate.max_passage_words, and "
            "relabel.max_passage_words for judgements" + own,
        )


def batch_draws(
    keys: Sequence[bytes], bodies: Sequence[RequestBody], known: dict[bytes, Any], several: bool
) -> list[DrawNumbers]:
    """Group the bodies that have no known reply into requests, each body once; with `several`,
    neighbours that differ only in their seed share a request."""
    pending: list[DrawNumbers] = []
    known_keys = set(known)
    for number, key in enumerate(keys):
        if key in known_keys:
            continue
        known_keys.add(key)
        if several and pending and _drop_seed(bodies[pending[-1][0]]) == _drop_seed(bodies[number]):
            pending[-1].append(number)
        else:
            pending.append([number])
    return pending


def read_usage(reply: ServerReply) -> dict[str, Any]:
    """Read the token usage that a reply reports; empty where it is no object."""
    usage = reply.get("usage")
    return usage if isinstance(usage, dict) else {}


def read_count(value: Any) -> int:
    """Read a number of tokens; 0 for a value that is not one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if number and 0 <= value < _MAX_TOKENS else 0


def merge_draws(body: RequestBody, draws: int) -> RequestBody:
    """Make one request for several draws, with the seed of the first."""
    return {**body, "n": draws} if draws > 1 else body


def _drop_seed(body: RequestBody) -> RequestBody:
    return {field: value for field, value in body.items() if field != "seed"}
