"""Log-probabilities in a server's replies: of the prompt's own tokens, and of the first new
token."""

from collections.abc import Sequence
from math import exp, log
from typing import Any

from distill.llm.http.cached_client import read_count, read_usage
from distill.llm.score_checks import find_logprob_fault, is_logprob
from distill.remote.faults import ServerReply


def read_prompt_logprobs(reply: ServerReply) -> list[tuple[str, Any]] | None:
    """Read each token of the prompt with its log-probability as returned (None for the first); None
    where the reply holds none."""
    chosen = reply["choices"][0]
    if ranked := _read_list(chosen.get("prompt_logprobs")):
        firsts = [_read_dict(next(iter(_read_dict(token).values()), None)) for token in ranked]
        return [(_read_text(one.get("decoded_token")), one.get("logprob")) for one in firsts]
    listed = _read_dict(chosen.get("logprobs"))
    tokens, logprobs = _read_list(listed.get("tokens")), _read_list(listed.get("token_logprobs"))
    if not tokens or len(tokens) != len(logprobs):
        return None
    count = read_prompt_token_count(reply) or len(tokens)
    return list(zip(map(_read_text, tokens), logprobs, strict=True))[:count]


def select_continuation(tokens: Sequence[tuple[str, Any]], continuation: str) -> list[Any] | None:
    """Select the log-probabilities of the tokens that spell `continuation` at the end of the
    prompt; None where no tokens spell it. A token that begins before the continuation counts whole.

    Tokens are counted from the end, because the offsets that servers return are wrong at special
    tokens."""
    at, length = len(tokens), 0
    while at > 0 and (length < len(continuation) or not tokens[at - 1][0]):
        at -= 1
        length += len(tokens[at][0])
    spelled = "".join(text for text, _ in tokens[at:])
    first_is_in_it = at == 0 and bool(tokens) and tokens[0][1] is None
    if not spelled.endswith(continuation) or first_is_in_it:
        return None
    return [logprob for _, logprob in tokens[at:]]


def read_score(reply: ServerReply, continuation: str) -> dict[str, Any]:
    """Read what the cache stores of a scored prompt: the continuation's score, or all
    log-probabilities where the tokens do not spell it. Where they are missing or invalid it is a
    `fault` and the choice as received."""
    tokens = read_prompt_logprobs(reply)
    if tokens is None:
        return {"fault": "there are no log-probabilities", "raw": reply["choices"][0]}
    logprobs = select_continuation(tokens, continuation)
    if logprobs is None:
        return {"all": [logprob for _, logprob in tokens]}
    if fault := find_logprob_fault(logprobs):
        return {"fault": fault, "raw": reply["choices"][0]}
    return {"logprob": sum(logprobs), "tokens": len(logprobs)}


def has_prompt_logprobs(reply: ServerReply, continuation: str) -> bool:
    """Return whether a probe's reply has a log-probability for each token of the prompt but the
    first. They must spell the prompt: a server that ignores `echo` gives those of its own text."""
    tokens = read_prompt_logprobs(reply)
    if tokens is None or not all(is_logprob(logprob) for _, logprob in tokens[1:]):
        return False
    spelled = "".join(text for text, _ in tokens)
    return "".join(spelled.split()).endswith("".join(continuation.split()))


def read_top_tokens(reply: ServerReply) -> list[tuple[str, float]]:
    """Read the likeliest first tokens and their log-probabilities, in either of the shapes that
    servers use; empty where there are none. Values that are not log-probabilities are ignored."""
    logprobs = _read_dict(reply["choices"][0].get("logprobs"))
    pairs: list[tuple[Any, Any]]
    if content := _read_list(logprobs.get("content")):
        listed = _read_list(_read_dict(content[0]).get("top_logprobs")) or content[:1]
        pairs = [(_read_dict(one).get("token"), _read_dict(one).get("logprob")) for one in listed]
    else:
        pairs = list(_read_dict(next(iter(_read_list(logprobs.get("top_logprobs"))), None)).items())
    return [(t, float(lp)) for t, lp in pairs if isinstance(t, str) and is_logprob(lp)]


def read_prompt_token_count(reply: ServerReply) -> int | None:
    """Read the number of the prompt's tokens, as the server counts them; None where it does not."""
    return read_count(read_usage(reply).get("prompt_tokens")) or None


def sum_word_logprob(
    top: Sequence[tuple[str, float]], word: str, others: set[str] | frozenset[str] = frozenset()
) -> float | None:
    """Compute the log of the summed probability of the tokens that are `word`, or begin it and none
    of `others`, ignoring case and spaces; None where there are none."""
    total = 0.0
    for token, logprob in top:
        bare = token.strip().casefold()
        if bare and word.casefold().startswith(bare):
            total += 0.0 if any(o.casefold().startswith(bare) for o in others) else exp(logprob)
    return log(total) if total else None


def find_min_logprob(top: Sequence[tuple[str, float]]) -> float:
    """Find the log-probability of the least likely of these tokens, a bound for all others."""
    return min(logprob for _, logprob in top)


def _read_dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _read_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read_text(value: Any) -> str:
    return value if isinstance(value, str) else ""
