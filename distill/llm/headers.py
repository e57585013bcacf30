"""What prompts have in common at their beginning (a few-shot header, a chat template), computed
once and kept for the prompts of later calls."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from distill.llm.cache import Layer
from distill.llm.slots import Slots

_WORTH = 64
"""Tokens that a header must save to be worth a forward pass of its own."""
_SHORTEST = 16
"""Tokens by which it must at least be longer than the header that it begins with."""
_KEPT_BYTES = 2 << 30
"""Keys and values of headers that are kept."""
_REMEMBERED = 256
"""Prompts of earlier calls that new ones are compared with."""


class Headers:
    """The headers of a model's prompts; `computed` counts the tokens computed for them.

    Args:
        alone: compute each header from its first token on, and keep the last one only. Behind
            another header the last digits would depend on what was computed before, and so on
            where an earlier process was killed; likelihoods are kept to the last digit.
    """

    def __init__(self, model: Any, alone: bool = False) -> None:
        self.computed = 0
        self._model = model
        self._alone = alone
        self._kept: OrderedDict[tuple[int, ...], list[Layer]] = OrderedDict()
        self._earlier: list[list[int]] = []

    def chains(self, prompts: Sequence[list[int]]) -> list[tuple[int, ...]]:
        """For each prompt the lengths of the headers that it begins with, shortest first. A
        beginning is a header where it saves enough tokens over these prompts and the latest ones
        before them: several task types and draws of examples each have their own."""
        distinct = sorted({tuple(ids) for ids in (*self._earlier, *prompts)})
        found: dict[tuple[int, ...], tuple[int, ...]] = {}
        _divide(distinct, (), found)
        self._earlier = [*self._earlier, *prompts][-_REMEMBERED:]
        return [found[tuple(ids)] for ids in prompts]

    def get(self, ids: Sequence[int], chain: Sequence[int]) -> list[Layer]:
        """The layers (of one row) of the last header in a prompt's chain; none for no chain."""
        layers: list[Layer] = []
        for length in chain:
            layers = self._one(tuple(ids[:length]))
        return layers

    def keep(self, ids: Sequence[int], layers: list[Layer]) -> None:
        """Keep a text's layers in place of those that were not used for longest. Whole prompts may
        be kept too: a later one may begin alike."""
        self._kept[tuple(ids)] = layers
        self._kept.move_to_end(tuple(ids))
        most = 0 if self._alone else _KEPT_BYTES
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > most:
            self._kept.popitem(last=False)

    def _one(self, ids: tuple[int, ...]) -> list[Layer]:
        layers = self._kept[ids] if ids in self._kept else self._compute(ids)
        self.keep(ids, layers)
        return layers

    def _compute(self, ids: tuple[int, ...]) -> list[Layer]:
        """Behind as much of it as another header holds already, unless each is computed alone."""
        alike = {} if self._alone else {key: _alike(ids, key) for key in self._kept}
        nearest: tuple[int, ...] = max(alike, key=alike.__getitem__, default=())
        start = alike.get(nearest, 0)
        slots = Slots(self._model, slots=1, width=len(ids))
        if start:
            shared = [(k[:, :, :start], v[:, :, :start]) for k, v in self._kept[nearest]]
            slots.cache.begin(0, 1, shared)
        if start < len(ids):
            slots.forward(0, [ids[start:]], [start])
        self.computed += len(ids) - start
        return slots.cache.copied(0, len(ids))


def common_beginning(prompts: Sequence[list[int]] | Sequence[tuple[int, ...]]) -> int:
    """The number of tokens that all begin with, short of each one's last token. The first and the
    last prompt in sorting order differ from each other no later than any two do."""
    low: Sequence[int] = min(prompts)
    high: Sequence[int] = max(prompts)
    most = min(len(prompt) for prompt in prompts) - 1
    shared = 0
    while shared < most and low[shared] == high[shared]:
        shared += 1
    return shared


def _divide(
    prompts: list[tuple[int, ...]],
    chain: tuple[int, ...],
    found: dict[tuple[int, ...], tuple[int, ...]],
) -> None:
    """Note the chain of each of these prompts, which are sorted, distinct and begin alike."""
    shared = common_beginning(prompts)
    longer = shared - (chain[-1] if chain else 0)
    if longer >= _SHORTEST and longer * (len(prompts) - 1) >= _WORTH:
        chain = (*chain, shared)
    branches: dict[int, list[tuple[int, ...]]] = {}
    for prompt in prompts:
        if len(prompts) == 1 or len(prompt) - 1 == shared:
            found[prompt] = chain
        else:
            branches.setdefault(prompt[shared], []).append(prompt)
    for branch in branches.values():
        _divide(branch, chain, found)


def _alike(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """The number of tokens that both begin with."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((place for place, (x, y) in pairs if x != y), min(len(a), len(b)))


def _bytes(header: list[Layer]) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in header)
