"""Continuous batching: generation in which no row waits for another.

Each row of the running batch has a slot of its own. When a row is finished, the last one takes its
slot, and the free slots at the end are given to the next prompts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from llguidance import LLMatcher

from distill.llm.protocol import Sampling
from distill.llm.transformers.prefix_cache import PrefixCache
from distill.llm.transformers.sampling import StopStrings, choose_tokens
from distill.llm.transformers.slots import Slots
from distill.llm.transformers.structured_output import mask_forbidden_tokens
from distill.runtime.progress import count_requests

_REFILL_SHARE = 8
"""New prompts start when one slot in this many is free: starting a prompt takes a forward pass,
however short it is."""
_SLOT_TOKEN_FACTOR = 6
"""All slots together hold this many times the tokens of one forward pass: a step computes one token
per row, so it takes many rows to use the machine."""
_MIN_LENGTH_SHARE = 0.8
"""Prompts are computed together while the shortest has this share of the longest's tokens."""


@dataclass(eq=False)
class GenerationRow:
    """One prompt and the tokens generated for it."""

    ids: list[int]
    header: int
    """Length of the shared header that it begins with, in tokens; 0 for none."""
    uniform_numbers: list[float]
    """A random number for each token."""
    matcher: LLMatcher | None
    new_ids: list[int] = field(default_factory=list)
    """The generated tokens, without the one that ends the text."""
    steps: int = 0
    """Number of generated tokens, with the one that ends the text."""
    finished: bool = False
    fault: str | None = None

    @property
    def own_tokens(self) -> int:
        """Number of prompt tokens after the header."""
        return len(self.ids) - self.header

    @property
    def cached_tokens(self) -> int:
        """Number of tokens in its slot: the newest is computed by the next step."""
        return len(self.ids) + len(self.new_ids) - 1

    def is_over(self, max_new_tokens: int) -> bool:
        """Return whether the row is finished, has failed, or has all its new tokens."""
        return self.finished or bool(self.fault) or self.steps == max_new_tokens

    def restart(self) -> None:
        """Discard the generated tokens; the same ones will be generated again."""
        self.new_ids, self.steps = [], 0
        if self.matcher is not None:
            self.matcher.reset()

    def has_same_header(self, other: "GenerationRow") -> bool:
        """Return whether both prompts begin with the same shared prefix."""
        return self.ids[: self.header] == other.ids[: other.header]


@dataclass
class ContinuousBatcher:
    """Generates for all rows until each has ended, or has `max_new_tokens`."""

    model: Any
    prefix_cache: PrefixCache
    stop_strings: StopStrings
    end_ids: frozenset[int]
    """Ids of the tokens that end a text."""
    sampling: Sampling
    batch_tokens: int
    """Prompt tokens computed together."""
    computed_tokens: int = 0
    """Prompt tokens computed so far, without those of headers."""

    def generate(self, rows: Sequence[GenerationRow]) -> None:
        """Generate the tokens of all rows. Rows with the same header follow one another, the
        longest first."""
        waiting = sorted(rows, key=lambda row: (row.ids[: row.header], -row.own_tokens, row.ids))
        longest = max(len(row.ids) for row in rows) + self.sampling.max_new_tokens
        count = min(len(rows), max(1, _SLOT_TOKEN_FACTOR * self.batch_tokens // longest))
        slots = Slots(self.model, count, longest)
        running: list[GenerationRow] = []
        while waiting or running:
            free = count - len(running)
            if waiting and free * _REFILL_SHARE >= count:
                next_ones, waiting = waiting[:free], waiting[free:]
                for batch in _group_by_length(next_ones, self.batch_tokens):
                    self._admit(slots, running, batch)
            else:
                self._step(slots, running)
            self._retire(slots, running)

    def _admit(self, slots: Slots, running: list[GenerationRow], rows: list[GenerationRow]) -> None:
        """Compute new prompts after their headers, and the first token of each. A prompt with
        several continuations is computed once."""
        first = len(running)
        distinct = {tuple(row.ids): row for row in rows}
        self._place_headers(slots, list(distinct.values()), first)
        pieces = [row.ids[row.header :] for row in distinct.values()]
        hidden = slots.forward(first, pieces, [row.header for row in distinct.values()])
        self.computed_tokens += sum(map(len, pieces))
        places = {ids: place for place, ids in enumerate(distinct)}
        twins = [row for row in rows if distinct[tuple(row.ids)] is not row]
        for slot, row in enumerate(twins, start=first + len(distinct)):
            slots.cache.copy_tokens(first + places[tuple(row.ids)], slot, slice(len(row.ids)))
        new = [*distinct.values(), *twins]
        running += new
        self._append(new, hidden[[places[tuple(row.ids)] for row in new]])

    def _place_headers(self, slots: Slots, rows: list[GenerationRow], first: int) -> None:
        for _, neighbours in groupby(rows, key=lambda row: row.ids[: row.header]):
            sharing = list(neighbours)
            header = self.prefix_cache.get(sharing[0].ids, sharing[0].header)
            slots.cache.write_header(first, first + len(sharing), header)
            first += len(sharing)

    def _step(self, slots: Slots, running: list[GenerationRow]) -> None:
        newest = [row.new_ids[-1:] for row in running]
        self._append(running, slots.forward(0, newest, [row.cached_tokens for row in running]))

    def _append(self, rows: list[GenerationRow], hidden: torch.Tensor) -> None:
        """Choose each row's next token from the last hidden states (rows, hidden size)."""
        logits = self.model.get_output_embeddings()(hidden)
        matchers = [row.matcher for row in rows if row.matcher is not None]
        if matchers:
            logits = mask_forbidden_tokens(logits, matchers)
        uniform_numbers = [row.uniform_numbers[row.steps] for row in rows]
        for row, token in zip(
            rows, choose_tokens(logits, uniform_numbers, self.sampling).tolist(), strict=True
        ):
            self._append_token(row, token)

    def _append_token(self, row: GenerationRow, token: int) -> None:
        row.steps += 1
        if row.matcher is not None and not row.matcher.consume_token(token):
            row.fault = f"the structured output could not be continued: {row.matcher.get_error()}"
        elif token in self.end_ids:
            row.finished = True
        else:
            row.new_ids.append(token)
            row.finished = self.stop_strings.is_complete(row.new_ids) or (
                row.matcher is not None and row.matcher.is_stopped()
            )

    def _retire(self, slots: Slots, running: list[GenerationRow]) -> None:
        """Remove finished rows and fill their slots with rows from the end."""
        for slot in reversed(range(len(running))):
            finished = running[slot]
            if not finished.is_over(self.sampling.max_new_tokens):
                continue
            count_requests()
            last = running.pop()
            if last is not finished:
                start = last.header if last.has_same_header(finished) else 0
                slots.cache.copy_tokens(len(running), slot, slice(start, last.cached_tokens))
                running[slot] = last


def _group_by_length(rows: Sequence[GenerationRow], budget: int) -> Iterator[list[GenerationRow]]:
    """Group rows into forward passes: of similar length, with padding within the token budget."""
    together: list[GenerationRow] = []
    for row in sorted(rows, key=lambda row: (-row.own_tokens, row.ids)):
        if together:
            longest = together[0].own_tokens
            if (
                row.own_tokens < _MIN_LENGTH_SHARE * longest
                or (len(together) + 1) * longest > budget
            ):
                yield together
                together = []
        together.append(row)
    yield together
