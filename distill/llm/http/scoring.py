"""What a server can say of likelihoods: of a whole text, of a first token, or as a grade.

Query likelihood needs the log-probabilities of the prompt's own tokens, which few servers give.
Relevance classification needs the first new token's alone, which many do; where there are none at
all, a relevance graded in words remains.
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
from distill.remote.client import ServerReply
from distill.remote.faults import RefusedPrompt

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
"""The most that servers give: vLLM 20 by default, hosted completions 5, hosted chats 20."""
_log = logging.getLogger(__name__)


class LogprobScorer:
    """Scores of texts by a server's log-probabilities."""

    def __init__(self, answers: CachedClient) -> None:
        self._answers = answers
        self._said = False

    @cached_property
    def way(self) -> str | None:
        """How the server gives a prompt's log-probabilities, if it does."""
        prefix, continuation = _PROBE
        way = self._answers.first(
            COMPLETION,
            {way: self._body(prefix + continuation, way) for way in _PROMPT_METHODS},
            lambda reply: has_prompt_logprobs(reply, continuation),
        )
        _log.info("%s: log-probabilities of prompts by %s", self._answers.client.url, way)
        return way

    def _body(self, text: str, way: str) -> RequestBody:
        return self._answers.body(prompt=text, temperature=0.0, **_PROMPT_METHODS[way])

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """The scores of each request's continuations, with their endings.

        Where the server gives no log-probabilities of prompts, an ending's score is that of its
        first token given all before it (see `fetch_first_token_odds`), and a continuation has none.
        Such scores serve to compare endings, as relevance classification does, and nothing else.

        A text that the server refuses, or for which it gives what is no log-probability, has a
        score with a fault.

        Raises:
            UserError: if the server can do neither.
        """
        for request in requests:
            if not all(request.continuations) or not all(request.endings):
                raise UserError("score", f"an empty continuation of {request.prefix[-60:]!r}", "")
        if self.way is None:
            return self._first_tokens_of_endings(requests)
        pairs = [
            (r.prefix, c + ending)
            for r in requests
            for c in r.continuations
            for ending in ("", *r.endings)
        ]
        kept = self._answers.of(
            COMPLETION,
            [self._body(prefix + continuation, self.way) for prefix, continuation in pairs],
            lambda number, reply, _: read_score(reply, pairs[number][1]),
            marks=[continuation for _, continuation in pairs],
        )
        scores = self._with_counts(pairs, [_result_or_fault(one) for one in kept])
        self._say_unusable(scores)
        found = iter(scores)
        return [
            [_combine_endings(found, request) for _ in request.continuations]
            for request in requests
        ]

    def _say_unusable(self, scores: Sequence[Score]) -> None:
        faults = [score.fault for score in scores if score.fault]
        if faults and not self._said:
            self._said = True
            _log.warning("%s: some texts have no score (%s)", self._answers.client.url, faults[0])

    def _with_counts(
        self, pairs: Sequence[tuple[str, str]], kept: Sequence[dict[str, Any]]
    ) -> list[Score]:
        """The scores, where a server's token texts do not add up to the prompt (they leave out
        blanks, or cut a character in two) by the number of the prefix's own tokens."""
        odd = dict.fromkeys(
            prefix for (prefix, _), one in zip(pairs, kept, strict=True) if "all" in one
        )
        counts = dict(zip(odd, self._prompt_tokens(list(odd)), strict=True))
        scores = []
        for (prefix, _), one in zip(pairs, kept, strict=True):
            if "fault" in one:
                scores.append(make_unusable_score(one["fault"]))
            elif "all" in one:
                scores.append(_sum_after_prefix(one["all"], counts[prefix]))
            else:
                scores.append(check_score(Score(one["logprob"], one["tokens"])))
        return scores

    def _prompt_tokens(self, prefixes: Sequence[str]) -> list[int | None]:
        """None for a prefix whose tokens the server does not count."""
        bodies = [self._answers.body(prompt=p, max_tokens=1, temperature=0.0) for p in prefixes]
        counts = self._answers.of(
            COMPLETION, bodies, lambda _, reply, __: read_prompt_token_count(reply)
        )
        if counts and not any(isinstance(count, int) for count in counts):
            raise self._no("does not count the tokens of a prompt")
        return [count if isinstance(count, int) else None for count in counts]

    # --- endings alone ------------------------------------------------------------------------

    def _first_tokens_of_endings(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        if not all(request.endings for request in requests):
            raise self._no("gives no log-probabilities of a prompt's tokens")
        way = probe_first_tokens(self._answers, chat=False) or probe_first_tokens(
            self._answers, chat=True
        )
        if way is None:
            raise self._no("gives no log-probabilities at all")
        _log.warning(
            "%s: scores are of the endings' first tokens, good for comparing verdicts alone",
            self._answers.client.url,
        )
        stems = dict.fromkeys(r.prefix + c for r in requests for c in r.continuations)
        tops = fetch_first_tokens(self._answers, list(stems), way)
        top_of = dict(zip(stems, tops, strict=True))
        if tops and not any(tops):
            raise self._no("refuses all texts, or gave no first tokens for them")
        return [
            [self._compared(top_of[r.prefix + c], r.endings) for c in r.continuations]
            for r in requests
        ]

    def _compared(self, top: list[tuple[str, float]] | None, endings: Sequence[str]) -> Score:
        if top is None:
            return make_unusable_score("the text is refused, or has no first tokens", len(endings))
        words = [ending.strip() for ending in endings]
        found = [sum_word_logprob(top, word, {*words} - {word}) for word in words]
        if found == [None] * len(words):  # equal scores would be a verdict that nobody gave
            return make_unusable_score(
                f"none of {', '.join(words)} is among its first tokens", len(words)
            )
        unseen = find_min_logprob(top)
        return Score(math.nan, 0, tuple(unseen if one is None else one for one in found))

    def _no(self, what: str) -> UserError:
        return UserError(
            self._answers.client.url,
            f"model {self._answers.settings.model!r} {what}",
            "score on another engine (llm.engine: vllm or transformers), shorten the prompts where "
            "they are too long, or relabel.rankers: [retriever]",
        )


# --- verdicts and grades ----------------------------------------------------------------------


def probe_first_tokens(answers: CachedClient, chat: bool) -> str | None:
    """How the server gives the likeliest first tokens of an answer, or of a continuation."""
    names = [way for way in _FIRST_TOKEN_METHODS if (way == "chat") == chat]
    return answers.first(
        choose_path(chat),
        {way: _make_first_token_body(answers, _PROBE[0], way) for way in names},
        lambda reply: bool(read_top_tokens(reply)),
    )


def fetch_first_tokens(
    answers: CachedClient, prompts: Sequence[str], way: str
) -> list[list[tuple[str, float]] | None]:
    """The likeliest first tokens behind each prompt; None where the server gives none."""
    bodies = [_make_first_token_body(answers, prompt, way) for prompt in prompts]
    tops = answers.of(choose_path(way == "chat"), bodies, lambda _, reply, __: _top_or_fault(reply))
    return [top if isinstance(top, list) else None for top in tops]


def fetch_first_token_odds(
    answers: CachedClient,
    prompts: Sequence[str],
    yes: str = "yes",
    no: str = "no",
    chat: bool = True,
) -> list[float | None]:
    """log P(yes) - log P(no) of each prompt's answer, over all spellings (case, a leading blank)
    among the likeliest first tokens: RC for servers without a prompt's log-probabilities.

    Where one verdict is not listed, the least likely token that is stands for it, so that the odds
    are a bound; None where neither is, or the server gives nothing.

    Args:
        chat: a prompt is a user message, not a text to be continued.
    """
    way = probe_first_tokens(answers, chat)
    if way is None:
        return [None] * len(prompts)
    odds: list[float | None] = []
    for top in fetch_first_tokens(answers, prompts, way):
        both = [sum_word_logprob(top or [], yes, {no}), sum_word_logprob(top or [], no, {yes})]
        if top is None or both == [None, None]:
            odds.append(None)
            continue
        agreed, denied = (find_min_logprob(top) if one is None else one for one in both)
        odds.append(agreed - denied)
    return odds


def _top_or_fault(reply: ServerReply) -> Any:
    return read_top_tokens(reply) or {
        "fault": "there are no first tokens",
        "raw": reply["choices"][0],
    }


def _make_first_token_body(answers: CachedClient, prompt: str, way: str) -> RequestBody:
    asked = {**make_prompt_fields(prompt, way == "chat"), "max_tokens": 1, "temperature": 0.0}
    return answers.body(**asked, **_FIRST_TOKEN_METHODS[way])


def _result_or_fault(kept: Any) -> dict[str, Any]:
    """What was kept of a text, or why there is nothing. Earlier versions kept nothing of a reply
    without log-probabilities."""
    if isinstance(kept, RefusedPrompt):
        return {"fault": f"the server refuses the text ({kept.reason})"}
    return kept or {"fault": "there are no log-probabilities"}


def _sum_after_prefix(logprobs: Sequence[Any], prefix: int | None) -> Score:
    """The score of what follows the first `prefix` tokens."""
    rest = logprobs[prefix:] if prefix is not None else []
    if not rest:
        return make_unusable_score("its log-probabilities do not match the prompt's tokens")
    fault = find_logprob_fault(rest)
    return make_unusable_score(fault) if fault else Score(sum(rest), len(rest))


def _combine_endings(scores: Iterator[Score], request: ScoreRequest) -> Score:
    """The next continuation's score, out of its own and those with each ending behind it."""
    alone, *behind = [next(scores) for _ in ("", *request.endings)]
    fault = next((score.fault for score in (alone, *behind) if score.fault), None)
    if fault:
        return make_unusable_score(fault, len(behind))
    return Score(alone.logprob, alone.tokens, tuple(b.logprob - alone.logprob for b in behind))
