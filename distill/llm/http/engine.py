"""The HTTP engine: an OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama, hosted).

Each row has its own request and seed. A reply is cached as soon as it arrives, and never asked for
again.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from distill.llm.http.cached_client import CachedClient
from distill.llm.http.generation import (
    choose_path,
    make_completion,
    make_generation_body,
    read_choice,
)
from distill.llm.http.scoring import LogprobScorer, probe_first_tokens
from distill.llm.http.structured_output import StructuredOutput, make_schema_check
from distill.llm.protocol import Completion, Sampling, Score, ScoreRequest
from distill.llm.thoughts import is_cut_in_thoughts
from distill.recipe import LanguageModel
from distill.remote.faults import RefusedPrompt


class HTTPEngine:
    """An `LLM` (see protocol) behind an OpenAI-compatible server.

    What the server can do beyond generation (structured output, scores) is probed once, when it is
    first needed. `tokens` further counts `cached`, `failures` (see `CachedClient`), and
    `malformed`: finished texts that violate the JSON schema that was sent along.

    Args:
        cache: the SQLite file that stores every reply.
        first_wait: seconds before a request is repeated for the first time.

    Raises:
        UserError: if the settings are not those of a server, or the cache cannot be used.
    """

    has_chat = True

    def __init__(self, settings: LanguageModel, cache: Path, first_wait: float = 1.0) -> None:
        self.name = settings.model
        self.client = CachedClient(settings, cache, first_wait)
        self.structured_output = StructuredOutput(self.client)
        self.scorer = LogprobScorer(self.client)
        self.tokens = self.client.tokens
        self.tokens["malformed"] = 0

    @cached_property
    def supports_regex(self) -> bool:
        """Whether the server enforces a regular expression."""
        return self.structured_output.regex_field is not None

    @cached_property
    def supports_schema(self) -> bool:
        """Whether the server enforces a JSON schema."""
        return self.structured_output.supports_schema

    @cached_property
    def can_score(self) -> bool:
        """Whether the server gives the log-probabilities of a prompt's own tokens."""
        return self.scorer.prompt_method is not None

    @cached_property
    def can_compare_verdicts(self) -> bool:
        """Whether the server gives log-probabilities of prompts, or of first tokens."""
        methods = (probe_first_tokens(self.client, chat) for chat in (False, True))
        return self.can_score or any(method is not None for method in methods)

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        """Generate one continuation for each prompt, in order. Equal neighbouring prompts become
        draws of one request where the server allows it; a greedy one is requested once.

        A reply that a stop string ended within its thoughts is requested again without stop
        strings, which are then applied here."""
        texts = self._generate(prompts, seeds, sampling, sampling.stop)
        cut = [
            n for n, t in enumerate(texts) if is_cut_in_thoughts(t.text, t.finished, sampling.stop)
        ]
        if cut:
            again = self._generate([prompts[n] for n in cut], [seeds[n] for n in cut], sampling, ())
            for number, text in zip(cut, again, strict=True):
                texts[number] = text
        self._count_schema_violations(texts, sampling)
        return texts

    def _generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling,
        sent: tuple[str, ...],
    ) -> list[Completion]:
        """Generate one continuation for each prompt.

        Args:
            sent: the stop strings that the request carries.
        """
        constraint = self.structured_output.make_fields(sampling)
        bodies = [
            make_generation_body(
                self.client, prompt, seed, replace(sampling, stop=sent), constraint
            )
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        replies = self.client.fetch(
            choose_path(sampling.chat),
            bodies,
            lambda _, reply, choice: read_choice(reply, choice),
            share=1,
        )
        return [
            Completion("", False, fault=one.reason)
            if isinstance(one, RefusedPrompt)
            else make_completion(one, sampling.stop)
            for one in replies
        ]

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """Score continuations by their log-probabilities; see `LogprobScorer.score`."""
        return self.scorer.score(requests)

    def close(self) -> None:
        """Close the cache; connections last no longer than a call."""
        self.client.cache.close()

    def _count_schema_violations(self, texts: Sequence[Completion], sampling: Sampling) -> None:
        """Count the finished texts that violate their schema. A server may accept a schema and
        ignore it: the parser drops such rows, and this count shows the server to be the cause."""
        if sampling.json_schema:
            fits = make_schema_check(json.loads(sampling.json_schema))
            self.tokens["malformed"] += sum(t.finished and not fits(t.text) for t in texts)
