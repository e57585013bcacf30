"""The seam between the stages and whatever computes a language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True)
class Sampling:
    """How a continuation is drawn. temperature 0 is greedy; generation ends before any of `stop`
    (of those behind the thoughts, where a model thinks aloud first), at the model's end token, or
    after `max_new_tokens`.

    `chat`: prompts are user messages for the model's chat template, not texts to be continued.
    `regex` (of the whole text) or `json_schema` (as JSON text): the form that an engine which
    can force it makes the text have; the others ignore both, so the reader still checks.
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
    """One prefix and the continuations to score behind it. A continuation should begin where a
    token does (with a space or a line break): its tokens are those behind the prefix' last word.

    Each of the `endings`, such as verdicts, is scored behind each continuation, which is computed
    once for all of them; they too should begin where a token does."""

    prefix: str
    continuations: tuple[str, ...]
    endings: tuple[str, ...] = ()


class Score(NamedTuple):
    """A continuation's summed natural log-probability given its prefix, its token count, and each
    ending's summed log-probability given both. An engine that can only compare verdicts (see LLM)
    gives endings that are comparable with one another alone, and nan for the continuation.

    `fault` is why this text has no score (see `usable`); its numbers are nan, and the others of
    the call stand."""

    logprob: float
    tokens: int
    endings: tuple[float, ...] = ()
    fault: str | None = None


class Completion(NamedTuple):
    """What the model wrote, and whether it came to an end (a stop string or its end token).
    `fault` is why an engine wrote nothing for this prompt, where that will not change by asking
    again (a server's content filter, a prompt that is too long)."""

    text: str
    finished: bool
    fault: str | None = None


class LLM(Protocol):
    """An engine. `close` gives back what it holds (weights, a process, connections), after which
    it is not used any more; `LazyLLM` opens another.

    `can_score` says whether it has log-probabilities, `supports_regex` and `supports_schema`
    which forms it forces on what it writes, `has_chat` whether the model has a chat template;
    `tokens` counts what it computed so far: prompt tokens, those saved by sharing,
    new tokens."""

    name: str
    tokens: dict[str, int]

    @property
    def can_score(self) -> bool: ...

    @property
    def can_compare_verdicts(self) -> bool:
        """Whether `score` can at least tell the endings of a continuation apart."""
        ...

    @property
    def supports_regex(self) -> bool: ...

    @property
    def supports_schema(self) -> bool: ...

    @property
    def has_chat(self) -> bool: ...

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        """One continuation for each prompt, in order, drawn with that prompt's own seed."""
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """The scores of each request's continuations, in order."""
        ...

    def close(self) -> None: ...


class IdentifiedLLM(LLM, Protocol):
    """An LLM that a program passes to distill in the place of a model reference, as in
    `distill.run(recipe, llm=MyLLM())`. It stays open: `close` is left to the program.

    `identity` goes into fingerprints: it changes whenever what the LLM writes or scores would."""

    identity: Mapping[str, str | int]
