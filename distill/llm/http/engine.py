"""The HTTP engine: an OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama, hosted).

Each row has its own request and seed; what arrives is kept at once, and never asked for again.
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

    What the server can do beyond writing (force a form, score a text) it is asked once, when that
    is first needed. `tokens` further counts `cached`, `failures` (see `CachedClient`), and
    `formless`: finished texts that have not the JSON schema which was sent along.

    Args:
        cache: the SQLite file in which every reply is kept.
        first_wait: seconds before a request is repeated for the first time.

    Raises:
        UserError: if the settings are not those of a server, or the cache cannot be used.
    """

    has_chat = True

    def __init__(self, settings: LanguageModel, cache: Path, first_wait: float = 1.0) -> None:
        self.name = settings.model
        self.answers = CachedClient(settings, cache, first_wait)
        self.forms = StructuredOutput(self.answers)
        self.scorer = LogprobScorer(self.answers)
        self.tokens = self.answers.tokens
        self.tokens["formless"] = 0

    @cached_property
    def supports_regex(self) -> bool:
        return self.forms.regex_way is not None

    @cached_property
    def supports_schema(self) -> bool:
        return self.forms.schema

    @cached_property
    def can_score(self) -> bool:
        """Whether the server gives the log-probabilities of a prompt's own tokens."""
        return self.scorer.way is not None

    @cached_property
    def can_compare_verdicts(self) -> bool:
        """Whether the server gives log-probabilities of prompts, or of first tokens."""
        ways = (probe_first_tokens(self.answers, chat) for chat in (False, True))
        return self.can_score or any(way is not None for way in ways)

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        """One continuation for each prompt, in order. Neighbouring equal prompts are draws of one
        request where the server allows it; a greedy one is asked for once.

        A reply that a stop string ended in its thoughts is asked for again without stop strings,
        which are then applied here."""
        texts = self._write(prompts, seeds, sampling, sampling.stop)
        cut = [
            n for n, t in enumerate(texts) if is_cut_in_thoughts(t.text, t.finished, sampling.stop)
        ]
        if cut:
            again = self._write([prompts[n] for n in cut], [seeds[n] for n in cut], sampling, ())
            for number, text in zip(cut, again, strict=True):
                texts[number] = text
        self._count_formless(texts, sampling)
        return texts

    def _write(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling,
        sent: tuple[str, ...],
    ) -> list[Completion]:
        """One continuation for each prompt. `sent`: the stop strings that the server is told."""
        form = self.forms.fields(sampling)
        bodies = [
            make_generation_body(self.answers, prompt, seed, replace(sampling, stop=sent), form)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        kept = self.answers.of(
            choose_path(sampling.chat), bodies, lambda _, reply, choice: read_choice(reply, choice)
        )
        return [
            Completion("", False, fault=one.reason)
            if isinstance(one, RefusedPrompt)
            else make_completion(one, sampling.stop)
            for one in kept
        ]

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """See `LogprobScorer.score`."""
        return self.scorer.score(requests)

    def close(self) -> None:
        """Let go of the file of replies; connections last no longer than a call."""
        self.answers.cache.close()

    def _count_formless(self, texts: Sequence[Completion], sampling: Sampling) -> None:
        """A server may take a schema and ignore it: the reader drops such rows, and here they are
        seen to be the server's doing."""
        if sampling.json_schema:
            fits = make_schema_check(json.loads(sampling.json_schema))
            self.tokens["formless"] += sum(t.finished and not fits(t.text) for t in texts)
