"""Cache of shared prompt prefixes, called headers here: a few-shot header or a chat template that
several prompts begin with is computed once, for the prompts of later calls too."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from distill.llm.transformers.kv_cache import Layer
from distill.llm.transformers.slots import Slots

_MIN_SAVED_TOKENS = 64
"""A header must save this many tokens to be worth a forward pass of its own."""
_MAX_BYTES = 2 << 30
"""Memory for the keys and values of cached headers."""
_LENGTH_STEP = 16
"""Lengths of headers are multiples of this, so that different calls have the same headers although
the prompts of one happen to share a few more tokens."""


class PrefixCache:
    """Keys and values of the headers of a model's prompts.

    `computed_tokens` counts the tokens computed for them. A prompt's header follows from the
    prompts of its own call alone, and each header is computed by itself from its first token on. So
    a cached header saves time and changes no digit: a run ends with the same bytes wherever it was
    killed, in whatever order its shards are made, and in however many processes.

    Args:
        max_bytes: memory for the headers used last; one is cached in any case.
    """

    def __init__(self, model: Any, max_bytes: int = _MAX_BYTES) -> None:
        self.computed_tokens = 0
        self._model = model
        self._max_bytes = max_bytes
        self._cached: OrderedDict[tuple[int, ...], list[Layer]] = OrderedDict()

    def find_lengths(self, prompts: Sequence[list[int]]) -> list[int]:
        """Find the length of the header that each prompt begins with, 0 for none. A shared
        beginning is a header where it saves enough tokens over these prompts: each task type and
        each set of few-shot examples has its own."""
        lengths: dict[tuple[int, ...], int] = {}
        if prompts:
            _assign_headers(sorted({tuple(ids) for ids in prompts}), 0, lengths)
        return [lengths[tuple(ids)] for ids in prompts]

    def get(self, ids: Sequence[int], length: int) -> list[Layer]:
        """Return the layers (of one row) of a prompt's header, computed if need be; none for no
        header."""
        if not length:
            return []
        key = tuple(ids[:length])
        if key not in self._cached:
            self._cached[key] = self._compute(key)
        self._cached.move_to_end(key)
        while (
            len(self._cached) > 1
            and sum(map(_count_bytes, self._cached.values())) > self._max_bytes
        ):
            self._cached.popitem(last=False)
        return self._cached[key]

    def __len__(self) -> int:
        """Number of cached headers."""
        return len(self._cached)

    def clear(self) -> None:
        """Free the memory of all headers; they are computed again when needed."""
        self._cached.clear()

    def _compute(self, ids: tuple[int, ...]) -> list[Layer]:
        slots = Slots(self._model, slots=1, width=len(ids))
        slots.forward(0, [ids], [0])
        self.computed_tokens += len(ids)
        return slots.cache.clone_tokens(0, len(ids))


def count_common_tokens(prompts: Sequence[list[int]] | Sequence[tuple[int, ...]]) -> int:
    """Count the tokens that all prompts begin with, without any prompt's last token. The first and
    the last prompt in sorting order differ from each other no later than any two do."""
    low: Sequence[int] = min(prompts)
    high: Sequence[int] = max(prompts)
    most = min(len(prompt) for prompt in prompts) - 1
    shared = 0
    while shared < most and low[shared] == high[shared]:
        shared += 1
    return shared


def _assign_headers(
    prompts: list[tuple[int, ...]], header: int, lengths: dict[tuple[int, ...], int]
) -> None:
    """Set the header length of each of these prompts, which are sorted, distinct and share a
    beginning.

    Args:
        header: the length that they have unless a longer header is worth computing.
        lengths: filled in here, by prompt.
    """
    shared = count_common_tokens(prompts)
    length = shared - shared % _LENGTH_STEP
    if (length - header) * len(prompts) - length >= _MIN_SAVED_TOKENS:
        header = length
    branches: dict[int, list[tuple[int, ...]]] = {}
    for prompt in prompts:
        if len(prompts) == 1 or len(prompt) - 1 == shared:
            lengths[prompt] = header
        else:
            branches.setdefault(prompt[shared], []).append(prompt)
    for branch in branches.values():
        _assign_headers(branch, header, lengths)


def _count_bytes(header: list[Layer]) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in header)
