"""Scores from a server's log-probabilities: of a whole text, or of a first token.

Query likelihood needs the log-probabilities of the prompt's own tokens, which few servers give.
Relevance classification needs only those of the first new token, which many give; without any, an
LLM can still grade relevance in words (see `judge_in_words`).
"""

import logging
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from distill.errors import UserError
from distill.llm.http.cached_client import CachedClient, RequestBody
from distill.llm.http.generation import COMPLETION, choose_path, make_prompt_fields
from distill.llm.http.logprobs import (
    find_min_logprob,
    has_prompt_logprobs,
    read_prompt_token_count,
    read_score,
    read_top_tokens,
    sum_word_logprob,
)
from distill.llm.protocol import Score, ScoreRequest
from distill.llm.score_checks import check_score, find_logprob_fault, make_unusable_score
from distill.remote.faults import RefusedPrompt, ServerReply

_PROBE = ("The river rose in the night and", " flooded the field.")
_PROMPT_METHODS: dict[str, RequestBody] = {
    "echo": {"max_tokens": 0, "echo": True, "logprobs": 1},
    "echo and one new token": {"max_tokens": 1, "echo": True, "logprobs": 1},
    "prompt_logprobs": {"max_tokens": 1, "prompt_logprobs": 0},
}
_FIRST_TOKEN_METHODS: dict[str, RequestBody] = {
    "completion": {"logprobs": 20},
    "completion of five": {"logprobs": 5},
    "chat": {"logprobs": True, "top_logprobs": 20},
}
"""The most tokens that servers list: vLLM 20 by default, hosted completions 5, hosted chats 20."""
_log = logging.getLogger(__name__)


class LogprobScorer:
    """Scores texts by a server's log-probabilities."""

    def __init__(self, client: CachedClient) -> None:
        self._client = client
        self._has_warned = False

    @cached_property
    def prompt_method(self) -> str | None:
        """The method by which the server gives a prompt's log-probabilities, if it does."""
        prefix, continuation = _PROBE
        method = self._client.probe(
            COMPLETION,
            {name: self._make_body(prefix + continuation, name) for name in _PROMPT_METHODS},
            lambda reply: has_prompt_logprobs(reply, continuation),
        )
        if method is None:
            _log.info("%s: gives no log-probabilities of prompts", self._client.server.url)
        else:
            _log.info("%s: log-probabilities of prompts by %s", self._client.server.url, method)
        return method

    def _make_body(self, text: str, method: str) -> RequestBody:
        return self._client.make_body(prompt=text, temperature=0.0, **_PROMPT_METHODS[method])

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """Score each request's continuations, with their endings.

        Where the server gives no log-probabilities of prompts, an ending's score is that of its
        first token given all before it (see `fetch_first_tokens`), and a continuation has none.
        Such scores serve to compare endings, as relevance classification does, and nothing else.
        Where endings alone are wanted, theirs are likewise comparable with one another alone: a
        server scores each text as a whole, and the continuation by itself would be one text more.

        A text that the server refuses, or whose log-probabilities are invalid, has a score with a
        fault.

        Raises:
            UserError: if the server gives no log-probabilities of either kind.
        """
        for request in requests:
            if not all(request.continuations) or not all(request.endings):
                raise UserError("score", f"an empty continuation of {request.prefix[-60:]!r}", "")
        if self.prompt_method is None:
            return self._score_first_tokens(requests)
        pairs = [
            (r.prefix, c + ending)
            for r in requests
            for c in r.continuations
            for ending in _list_scored_endings(r)
        ]
        stored = self._client.fetch(
            COMPLETION,
            [
                self._make_body(prefix + continuation, self.prompt_method)
                for prefix, continuation in pairs
            ],
            lambda number, reply, _: read_score(reply, pairs[number][1]),
            marks=[continuation for _, continuation in pairs],
            share=sum(len(r.continuations) for r in requests) / max(1, len(pairs)),
        )
        scores = self._make_scores(pairs, [_read_result(one) for one in stored])
        self._warn_of_unusable(scores)
        remaining = iter(scores)
        return [
            [_combine_endings(remaining, request) for _ in request.continuations]
            for request in requests
        ]

    def _warn_of_unusable(self, scores: Sequence[Score]) -> None:
        faults = [score.fault for score in scores if score.fault]
        if faults and not self._has_warned:
            self._has_warned = True
            _log.warning("%s: some texts have no score (%s)", self._client.server.url, faults[0])

    def _make_scores(
        self, pairs: Sequence[tuple[str, str]], results: Sequence[dict[str, Any]]
    ) -> list[Score]:
        """Make the scores. Where a server's token texts do not add up to the prompt (they leave out
        spaces, or cut a character in two), the prefix's tokens are counted by the server."""
        uncounted = dict.fromkeys(
            prefix for (prefix, _), one in zip(pairs, results, strict=True) if "all" in one
        )
        counts = dict(zip(uncounted, self._count_prompt_tokens(list(uncounted)), strict=True))
        scores = []
        for (prefix, _), one in zip(pairs, results, strict=True):
            if "fault" in one:
                scores.append(make_unusable_score(one["fault"]))
            elif "all" in one:
                scores.append(_sum_after_prefix(one["all"], counts[prefix]))
            else:
                scores.append(check_score(Score(one["logprob"], one["tokens"])))
        return scores

    def _count_prompt_tokens(self, prefixes: Sequence[str]) -> list[int | None]:
        """Count each prefix's tokens; None for one that the server does not count."""
        bodies = [self._client.make_body(prompt=p, max_tokens=1, temperature=0.0) for p in prefixes]
        counts = self._client.fetch(
            COMPLETION, bodies, lambda _, reply, __: read_prompt_token_count(reply)
        )
        if counts and not any(isinstance(count, int) for count in counts):
            raise self._make_error("does not count the tokens of a prompt")
        return [count if isinstance(count, int) else None for count in counts]

    # --- endings by their first tokens ----------------------------------------------------------

    def _score_first_tokens(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        if not all(request.endings for request in requests):
            raise self._make_error("gives no log-probabilities of a prompt's tokens")
        method = probe_first_tokens(self._client, chat=False) or probe_first_tokens(
            self._client, chat=True
        )
        if method is None:
            raise self._make_error("gives no log-probabilities at all")
        _log.warning(
            "%s: scores are of the endings' first tokens, good for comparing verdicts alone",
            self._client.server.url,
        )
        stems = dict.fromkeys(r.prefix + c for r in requests for c in r.continuations)
        tops = fetch_first_tokens(self._client, list(stems), method)
        top_by_stem = dict(zip(stems, tops, strict=True))
        if tops and not any(tops):
            raise self._make_error("refuses all texts, or returned no first tokens for them")
        return [
            [self._compare_endings(top_by_stem[r.prefix + c], r.endings) for c in r.continuations]
            for r in requests
        ]

    def _compare_endings(
        self, top: list[tuple[str, float]] | None, endings: Sequence[str]
    ) -> Score:
        """Make a score of endings from the likeliest first tokens after their stem."""
        if top is None:
            return make_unusable_score("the text is refused, or has no first tokens", len(endings))
        words = [ending.strip() for ending in endings]
        logprobs = [sum_word_logprob(top, word, {*words} - {word}) for word in words]
        if logprobs == [None] * len(words):  # equal scores would be a verdict that nobody gave
            return make_unusable_score(
                f"none of {', '.join(words)} is among its first tokens", len(words)
            )
        bound = find_min_logprob(top)
        return Score(math.nan, 0, tuple(bound if one is None else one for one in logprobs))

    def _make_error(self, what: str) -> UserError:
        return UserError(
            self._client.server.url,
            f"model {self._client.settings.model!r} {what}",
            "score on another engine (llm.engine: vllm or transformers), shorten the prompts where "
            "they are too long, or relabel.rankers: [retriever]",
        )


# --- first tokens -------------------------------------------------------------------------


def probe_first_tokens(client: CachedClient, chat: bool) -> str | None:
    """Find the method by which the server gives the likeliest first tokens of an answer (chat) or
    of a continuation; None if there is none."""
    names = [name for name in _FIRST_TOKEN_METHODS if (name == "chat") == chat]
    return client.probe(
        choose_path(chat),
        {name: _make_first_token_body(client, _PROBE[0], name) for name in names},
        lambda reply: bool(read_top_tokens(reply)),
    )


def fetch_first_tokens(
    client: CachedClient, prompts: Sequence[str], method: str
) -> list[list[tuple[str, float]] | None]:
    """Fetch the likeliest first tokens after each prompt; None where the server gives none."""
    bodies = [_make_first_token_body(client, prompt, method) for prompt in prompts]
    tops = client.fetch(
        choose_path(method == "chat"), bodies, lambda _, reply, __: _read_top(reply), share=1
    )
    return [top if isinstance(top, list) else None for top in tops]


def _read_top(reply: ServerReply) -> Any:
    return read_top_tokens(reply) or {
        "fault": "there are no first tokens",
        "raw": reply["choices"][0],
    }


def _make_first_token_body(client: CachedClient, prompt: str, method: str) -> RequestBody:
    fields = {**make_prompt_fields(prompt, method == "chat"), "max_tokens": 1, "temperature": 0.0}
    return client.make_body(**fields, **_FIRST_TOKEN_METHODS[method])


def _read_result(stored: Any) -> dict[str, Any]:
    """Return the stored result of a text, or why there is none. Earlier versions stored nothing of
    a reply without log-probabilities."""
    if isinstance(stored, RefusedPrompt):
        return {"fault": f"the server refuses the text ({stored.reason})"}
    return stored or {"fault": "there are no log-probabilities"}


def _sum_after_prefix(logprobs: Sequence[Any], prefix: int | None) -> Score:
    """Score what follows the first `prefix` tokens."""
    rest = logprobs[prefix:] if prefix is not None else []
    if not rest:
        return make_unusable_score("its log-probabilities do not match the prompt's tokens")
    fault = find_logprob_fault(rest)
    return make_unusable_score(fault) if fault else Score(sum(rest), len(rest))


def _list_scored_endings(request: ScoreRequest) -> tuple[str, ...]:
    """List what each continuation is scored with: nothing, for its own score, and each ending."""
    alone = request.endings_only and bool(request.endings)
    return request.endings if alone else ("", *request.endings)


def _combine_endings(scores: Iterator[Score], request: ScoreRequest) -> Score:
    """Combine a continuation's next score with those of its text plus each ending."""
    several = [next(scores) for _ in _list_scored_endings(request)]
    fault = next((score.fault for score in several if score.fault), None)
    if fault:
        return make_unusable_score(fault, len(request.endings))
    if len(several) == len(request.endings):
        return Score(math.nan, 0, tuple(one.logprob for one in several))
    alone, *behind = several
    return Score(alone.logprob, alone.tokens, tuple(b.logprob - alone.logprob for b in behind))
