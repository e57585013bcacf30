"""Generation in which no row waits for another: a running batch of rows, each in a slot of its
own. Where a row is finished the last one takes its slot, and the slots free at the end are given to
the next prompts."""

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

_REFILL_SHARE = 8
"""Slots are given away as soon as one in so many is free: starting a prompt takes a forward pass,
however short it is."""
_SLOT_TOKEN_FACTOR = 6
"""Slots together hold so many times the tokens that are computed at once: a step computes one token
a row, so it takes many rows to use the machine."""
_MIN_LENGTH_SHARE = 0.8
"""Prompts are computed together while the shortest has this share of the longest's tokens."""


@dataclass(eq=False)
class GenerationRow:
    """One prompt and what was written for it."""

    ids: list[int]
    header: int
    """The length of the header that it begins with, 0 for none."""
    uniform: list[float]
    """A random number for each token."""
    matcher: LLMatcher | None
    new: list[int] = field(default_factory=list)
    """The tokens written, without the one that ends the text."""
    steps: int = 0
    """The tokens computed, with the one that ends the text."""
    finished: bool = False
    fault: str | None = None

    @property
    def own(self) -> int:
        """Prompt tokens behind the header."""
        return len(self.ids) - self.header

    @property
    def held(self) -> int:
        """Tokens that its slot holds: the newest is computed by the next step."""
        return len(self.ids) + len(self.new) - 1

    def is_over(self, max_new_tokens: int) -> bool:
        return self.finished or bool(self.fault) or self.steps == max_new_tokens

    def begin_again(self) -> None:
        """As if nothing had been written; the same will be."""
        self.new, self.steps = [], 0
        if self.matcher is not None:
            self.matcher.reset()

    def begins_like(self, other: "GenerationRow") -> bool:
        return self.ids[: self.header] == other.ids[: other.header]


@dataclass
class ContinuousBatcher:
    """Writes for rows until each has come to an end, or to `max_new_tokens`."""

    model: Any
    headers: PrefixCache
    stops: StopStrings
    ends: frozenset[int]
    """Ids of the tokens that end a text."""
    sampling: Sampling
    batch_tokens: int
    """Prompt tokens computed together."""
    computed: int = 0
    """Prompt tokens computed so far, those of headers apart."""

    def write(self, rows: Sequence[GenerationRow]) -> None:
        """Fill in the rows. Those with the same header follow one another, the longest first."""
        waiting = sorted(rows, key=lambda row: (row.ids[: row.header], -row.own, row.ids))
        longest = max(len(row.ids) for row in rows) + self.sampling.max_new_tokens
        count = min(len(rows), max(1, _SLOT_TOKEN_FACTOR * self.batch_tokens // longest))
        slots = Slots(self.model, count, longest)
        running: list[GenerationRow] = []
        while waiting or running:
            free = count - len(running)
            if waiting and free * _REFILL_SHARE >= count:
                next_ones, waiting = waiting[:free], waiting[free:]
                for alike in _batch_by_length(next_ones, self.batch_tokens):
                    self._admit(slots, running, alike)
            else:
                self._step(slots, running)
            self._retire(slots, running)

    def _admit(self, slots: Slots, running: list[GenerationRow], rows: list[GenerationRow]) -> None:
        """Compute new prompts behind their headers and the first token of each. A prompt that is
        continued several times is computed once."""
        first = len(running)
        distinct = {tuple(row.ids): row for row in rows}
        self._place_headers(slots, list(distinct.values()), first)
        pieces = [row.ids[row.header :] for row in distinct.values()]
        hidden = slots.forward(first, pieces, [row.header for row in distinct.values()])
        self.computed += sum(map(len, pieces))
        places = {ids: place for place, ids in enumerate(distinct)}
        twins = [row for row in rows if distinct[tuple(row.ids)] is not row]
        for slot, row in enumerate(twins, start=first + len(distinct)):
            slots.cache.copy(first + places[tuple(row.ids)], slot, slice(len(row.ids)))
        new = [*distinct.values(), *twins]
        running += new
        self._append(new, hidden[[places[tuple(row.ids)] for row in new]])

    def _place_headers(self, slots: Slots, rows: list[GenerationRow], first: int) -> None:
        for _, neighbours in groupby(rows, key=lambda row: row.ids[: row.header]):
            alike = list(neighbours)
            header = self.headers.get(alike[0].ids, alike[0].header)
            slots.cache.begin(first, first + len(alike), header)
            first += len(alike)

    def _step(self, slots: Slots, running: list[GenerationRow]) -> None:
        newest = [row.new[-1:] for row in running]
        self._append(running, slots.forward(0, newest, [row.held for row in running]))

    def _append(self, rows: list[GenerationRow], hidden: torch.Tensor) -> None:
        """Choose each row's next token, from the hidden states (rows, hidden size) before it."""
        logits = self.model.get_output_embeddings()(hidden)
        matchers = [row.matcher for row in rows if row.matcher is not None]
        if matchers:
            logits = mask_forbidden_tokens(logits, matchers)
        uniform = [row.uniform[row.steps] for row in rows]
        for row, token in zip(
            rows, choose_tokens(logits, uniform, self.sampling).tolist(), strict=True
        ):
            self._note(row, token)

    def _note(self, row: GenerationRow, token: int) -> None:
        row.steps += 1
        if row.matcher is not None and not row.matcher.consume_token(token):
            row.fault = f"the form could not be followed: {row.matcher.get_error()}"
        elif token in self.ends:
            row.finished = True
        else:
            row.new.append(token)
            row.finished = self.stops.end(row.new) or (
                row.matcher is not None and row.matcher.is_stopped()
            )

    def _retire(self, slots: Slots, running: list[GenerationRow]) -> None:
        """Close the gaps that finished rows leave with rows from the end."""
        for slot in reversed(range(len(running))):
            gone = running[slot]
            if not gone.is_over(self.sampling.max_new_tokens):
                continue
            last = running.pop()
            if last is not gone:
                start = last.header if last.begins_like(gone) else 0
                slots.cache.copy(len(running), slot, slice(start, last.held))
                running[slot] = last


def _batch_by_length(rows: Sequence[GenerationRow], budget: int) -> Iterator[list[GenerationRow]]:
    """Rows to be computed together: of similar length, with padding within the token budget."""
    together: list[GenerationRow] = []
    for row in sorted(rows, key=lambda row: (-row.own, row.ids)):
        if together:
            longest = together[0].own
            if row.own < _MIN_LENGTH_SHARE * longest or (len(together) + 1) * longest > budget:
                yield together
                together = []
        together.append(row)
    yield together
