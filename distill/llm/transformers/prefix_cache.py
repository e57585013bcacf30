"""What prompts have in common at their beginning (a few-shot header, a chat template), computed
once and kept for the prompts of later calls."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from distill.llm.transformers.kv_cache import Layer
from distill.llm.transformers.slots import Slots

_MIN_SAVED_TOKENS = 64
"""Tokens that a header must save to be worth a forward pass of its own."""
_MAX_BYTES = 2 << 30
"""Keys and values of headers that are kept."""
_LENGTH_STEP = 16
"""Lengths of headers are multiples of this, so that those of different calls are alike although a
few more tokens happen to be shared in one of them."""


class PrefixCache:
    """The headers of a model's prompts; `computed` counts the tokens computed for them.

    Which headers a prompt has follows from the prompts of its own call alone, and each header is
    computed by itself from its first token on. So what was kept of earlier calls saves time and
    changes no digit: a run ends with the same bytes wherever it was killed, in whatever order its
    shards are made, and in however many processes.

    Args:
        most_bytes: keys and values to keep, of the headers used last; one is kept in any case.
    """

    def __init__(self, model: Any, most_bytes: int = _MAX_BYTES) -> None:
        self.computed = 0
        self._model = model
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[int, ...], list[Layer]] = OrderedDict()

    def lengths(self, prompts: Sequence[list[int]]) -> list[int]:
        """The length of the header that each prompt begins with, 0 for none. A beginning is a
        header where it saves enough tokens over these prompts: several task types and draws of
        examples each have their own."""
        found: dict[tuple[int, ...], int] = {}
        if prompts:
            _assign_headers(sorted({tuple(ids) for ids in prompts}), 0, found)
        return [found[tuple(ids)] for ids in prompts]

    def get(self, ids: Sequence[int], length: int) -> list[Layer]:
        """The layers (of one row) of a prompt's header; none for no header."""
        if not length:
            return []
        key = tuple(ids[:length])
        if key not in self._kept:
            self._kept[key] = self._compute(key)
        self._kept.move_to_end(key)
        while (
            len(self._kept) > 1 and sum(map(_count_bytes, self._kept.values())) > self._most_bytes
        ):
            self._kept.popitem(last=False)
        return self._kept[key]

    def forget(self) -> None:
        """Let go of what is kept, where memory does not suffice: it is computed again."""
        self._kept.clear()

    def _compute(self, ids: tuple[int, ...]) -> list[Layer]:
        slots = Slots(self._model, slots=1, width=len(ids))
        slots.forward(0, [ids], [0])
        self.computed += len(ids)
        return slots.cache.copied(0, len(ids))


def count_common_tokens(prompts: Sequence[list[int]] | Sequence[tuple[int, ...]]) -> int:
    """The number of tokens that all begin with, short of each one's last token. The first and the
    last prompt in sorting order differ from each other no later than any two do."""
    low: Sequence[int] = min(prompts)
    high: Sequence[int] = max(prompts)
    most = min(len(prompt) for prompt in prompts) - 1
    shared = 0
    while shared < most and low[shared] == high[shared]:
        shared += 1
    return shared


def _assign_headers(
    prompts: list[tuple[int, ...]], header: int, found: dict[tuple[int, ...], int]
) -> None:
    """Note the header of each of these prompts, which are sorted, distinct and begin alike.

    Args:
        header: the length of the one that they have unless a longer one is worth computing.
    """
    shared = count_common_tokens(prompts)
    length = shared - shared % _LENGTH_STEP
    if (length - header) * len(prompts) - length >= _MIN_SAVED_TOKENS:
        header = length
    branches: dict[int, list[tuple[int, ...]]] = {}
    for prompt in prompts:
        if len(prompts) == 1 or len(prompt) - 1 == shared:
            found[prompt] = header
        else:
            branches.setdefault(prompt[shared], []).append(prompt)
    for branch in branches.values():
        _assign_headers(branch, header, found)


def _count_bytes(header: list[Layer]) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in header)
