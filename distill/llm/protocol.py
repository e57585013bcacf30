"""The protocol of language models: what the stages need of an engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True)
class Sampling:
    """Settings of generation. Temperature 0 is greedy; generation ends before any of `stop`
    (outside the thoughts of a model that thinks first), at the model's end token, or after
    `max_new_tokens`.

    `chat`: prompts are user messages for the model's chat template, not texts to be continued.
    `regex` (of the whole text) or `json_schema` (as JSON text): structured output, which an engine
    enforces if it supports that; other engines ignore both, so parsers still check.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    chat: bool = False
    regex: str | None = None
    json_schema: str | None = None


@dataclass(frozen=True)
class ScoreRequest:
    """One prefix and the continuations to score after it. A continuation should begin where a token
    does (with a space or a line break): its tokens are those after the prefix' last word.

    Each of the `endings`, such as verdicts, is scored after each continuation, which is computed
    once for all of them; they too should begin where a token does. With `endings_only` an engine
    may leave out the continuations' own log-probabilities (nan), which take a pass over the whole
    vocabulary a token."""

    prefix: str
    continuations: tuple[str, ...]
    endings: tuple[str, ...] = ()
    endings_only: bool = False


class Score(NamedTuple):
    """A continuation's summed natural log-probability given its prefix, its token count, and each
    ending's summed log-probability given both. An engine that can only compare verdicts (see LLM)
    gives endings that are comparable with one another alone, and nan for the continuation.

    `fault` is why this text has no score (see `score_checks`); its numbers are nan. The other
    scores of the call are valid."""

    logprob: float
    tokens: int
    endings: tuple[float, ...] = ()
    fault: str | None = None


class Completion(NamedTuple):
    """The text that a model generated, and whether it came to an end (a stop string or its end
    token). `fault` is why there is no text for this prompt, where a repetition would not help (a
    server's content filter, a prompt that is too long)."""

    text: str
    finished: bool
    fault: str | None = None


class LLM(Protocol):
    """An engine. `close` frees its resources (weights, a process, connections), after which it is
    not used any more; `LazyLLM` opens another.

    `can_score` says whether it has log-probabilities, `supports_regex` and `supports_schema` which
    structured output it enforces, `has_chat` whether the model has a chat template; `tokens` counts
    the tokens computed so far: of prompts, saved by sharing, and new ones."""

    name: str
    tokens: dict[str, int]

    @property
    def can_score(self) -> bool:
        """Whether `score` gives log-probabilities."""
        ...

    @property
    def can_compare_verdicts(self) -> bool:
        """Whether `score` can at least tell the endings of a continuation apart."""
        ...

    @property
    def supports_regex(self) -> bool:
        """Whether output can be held to a regular expression."""
        ...

    @property
    def supports_schema(self) -> bool:
        """Whether output can be held to a JSON schema."""
        ...

    @property
    def has_chat(self) -> bool:
        """Whether the model has a chat template, or is asked by chat messages."""
        ...

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        """Generate one continuation for each prompt, in order, sampled with that prompt's own
        seed."""
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """Score each request's continuations, in order."""
        ...

    def close(self) -> None:
        """Free what the engine holds: memory, processes, files."""
        ...


class IdentifiedLLM(LLM, Protocol):
    """An LLM that a program passes to distill instead of a model reference, as in
    `distill.run(recipe, llm=MyLLM())`. It stays open: `close` is left to the program.

    `identity` goes into fingerprints: it changes whenever what the LLM writes or scores would."""

    identity: Mapping[str, str | int]
