"""Log-probabilities in a server's replies: of a prompt's own tokens, and of a first new one."""

from collections.abc import Sequence
from math import exp, isfinite, log
from typing import Any

from distill.llm.http_client import Reply
from distill.llm.protocol import Score


def prompt_logprobs(reply: Reply) -> list[tuple[str, float | None]] | None:
    """Each token of the prompt and its log-probability (None for the first), or None where the
    reply holds none."""
    chosen = reply["choices"][0]
    if chosen.get("prompt_logprobs"):
        firsts: list[dict[str, Any]] = [
            next(iter((ranked or {}).values()), {}) for ranked in chosen["prompt_logprobs"]
        ]
        return [(one.get("decoded_token") or "", one.get("logprob")) for one in firsts]
    given = chosen.get("logprobs") or {}
    tokens, logprobs = given.get("tokens"), given.get("token_logprobs")
    if not tokens or not logprobs or len(tokens) != len(logprobs):
        return None
    count = counted(reply) or len(tokens)
    return list(zip(tokens, logprobs, strict=True))[:count]


def tail_score(tokens: Sequence[tuple[str, float | None]], continuation: str) -> Score | None:
    """The score of the tokens that spell `continuation` at the end of the prompt; None where their
    texts do not. A token that begins before the continuation counts whole.

    Counted from the end, for the offsets that servers return go astray at special tokens."""
    at, length = len(tokens), 0
    while at > 0 and (length < len(continuation) or not tokens[at - 1][0]):
        at -= 1
        length += len(tokens[at][0])
    spelled = "".join(text for text, _ in tokens[at:])
    logprobs = [logprob for _, logprob in tokens[at:] if logprob is not None]
    if not spelled.endswith(continuation) or len(logprobs) < len(tokens) - at:
        return None
    return Score(sum(logprobs), len(logprobs))


def read_score(reply: Reply, continuation: str) -> dict[str, Any]:
    """What is kept of a scored prompt: the continuation's score, or all log-probabilities where
    the tokens do not spell it; empty where there are none."""
    tokens = prompt_logprobs(reply)
    if tokens is None:
        return {}
    score = tail_score(tokens, continuation)
    return score._asdict() if score else {"all": [logprob for _, logprob in tokens]}


def scores_prompt(reply: Reply, continuation: str) -> bool:
    """Whether a probe's reply has a log-probability for each token of the prompt but the first:
    the prompt's, for a server that ignores `echo` gives those of what it wrote."""
    tokens = prompt_logprobs(reply)
    if tokens is None or not all(_is_logprob(logprob) for _, logprob in tokens[1:]):
        return False
    spelled = "".join(text for text, _ in tokens)
    return "".join(spelled.split()).endswith("".join(continuation.split()))


def read_top(reply: Reply) -> list[tuple[str, float]]:
    """The likeliest first tokens and their log-probabilities, in either of the forms in which
    servers write them; empty where there are none."""
    given = reply["choices"][0].get("logprobs") or {}
    if content := given.get("content"):
        listed = content[0].get("top_logprobs") or content[:1]
        pairs = [(one.get("token"), one.get("logprob")) for one in listed]
    else:
        pairs = list(((given.get("top_logprobs") or [None])[0] or {}).items())
    return [(t, logprob) for t, logprob in pairs if isinstance(t, str) and _is_logprob(logprob)]


def _is_logprob(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def counted(reply: Reply) -> int | None:
    """The prompt's tokens, as the server counts them."""
    return (reply.get("usage") or {}).get("prompt_tokens")


def word_logprob(
    top: Sequence[tuple[str, float]], word: str, others: set[str] | frozenset[str] = frozenset()
) -> float | None:
    """log of the summed probability of the tokens that are `word`, or begin it and none of
    `others`, whatever their case and blanks; None where there are none."""
    total = 0.0
    for token, logprob in top:
        bare = token.strip().casefold()
        if bare and word.casefold().startswith(bare):
            total += 0.0 if any(o.casefold().startswith(bare) for o in others) else exp(logprob)
    return log(total) if total else None


def least(top: Sequence[tuple[str, float]]) -> float:
    """The log-probability of the least likely of these tokens: what is not among them has less."""
    return min(logprob for _, logprob in top)
