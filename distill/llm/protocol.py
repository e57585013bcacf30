"""The seam between the stages and whatever computes a language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True)
class Sampling:
    """How a continuation is drawn. temperature 0 is greedy; generation ends before any of `stop`,
    at the model's end token, or after `max_new_tokens`."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreRequest:
    """One prefix and the continuations to score behind it. Prefix and continuation are tokenised
    apart, so a continuation should begin where a token does (with a space or a line break)."""

    prefix: str
    continuations: tuple[str, ...]


class Score(NamedTuple):
    """A continuation's summed natural log-probability given its prefix, and its token count."""

    logprob: float
    tokens: int


class Written(NamedTuple):
    """What the model wrote, and whether it came to an end (a stop string or its end token)."""

    text: str
    finished: bool


class LLM(Protocol):
    """An engine. `can_score` says whether it has log-probabilities; `tokens` counts what it
    computed so far: prompt tokens, prompt tokens saved by sharing, new tokens."""

    name: str
    can_score: bool
    tokens: dict[str, int]

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Written]:
        """One continuation for each prompt, drawn with that prompt's own seed."""
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """The scores of each request's continuations, in order."""
        ...
