"""Key-value caches with room set aside.

transformers' dynamic cache copies everything that it holds for every new token; here new tokens
are written into room set aside, which on a CPU is much of what a step of generation costs.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

Layer = tuple[torch.Tensor, torch.Tensor]
"""Keys and values, each (rows, heads, tokens, width)."""


def make_cache_argument(model: Any, cache: DynamicCache | None) -> dict[str, DynamicCache | None]:
    """A cache as a model's forward pass takes it: transformers 5.24 has given it another name, and
    vLLM's environment holds an earlier one."""
    taken = inspect.signature(model.forward).parameters
    return {"cache" if "cache" in taken else "past_key_values": cache}


class SlotCache(DynamicCache):
    """Slots of `width` tokens, each for one row of its own length. A row lies in its slot from the
    first place on and without a gap, so that a token's place is its position in the text, and what
    lies behind a row's last token is never seen by it."""

    def __init__(self, slots: int, width: int) -> None:
        super().__init__()
        self.slots = slots
        self.width = width
        self._held: list[Layer] = []
        self._rows = torch.empty(0)
        self._positions = torch.empty(0)
        self._shown = (slice(0), slice(0))

    def aim(self, first: int, positions: torch.Tensor, upto: int) -> None:
        """The next forward pass is of the rows from slot `first` on, of tokens at `positions`
        (rows, tokens), and sees the first `upto` places."""
        last = first + positions.shape[0]
        self._rows = torch.arange(first, last, device=positions.device)[:, None]
        self._positions = positions
        self._shown = (slice(first, last), slice(upto))

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> Layer:
        """Write the new tokens' keys and values; give those of the rows that `aim` named."""
        keys, values = self._room(layer_idx, key_states, value_states)
        keys[self._rows, :, self._positions] = key_states.transpose(1, 2)
        values[self._rows, :, self._positions] = value_states.transpose(1, 2)
        rows, places = self._shown
        return keys[rows, :, places], values[rows, :, places]

    def begin(self, first: int, last: int, header: Sequence[Layer]) -> None:
        """The slots `first` to `last` begin with the header's layers (each of one row)."""
        for number, (keys, values) in enumerate(header):
            own_keys, own_values = self._room(number, keys, values)
            own_keys[first:last, :, : keys.shape[2]] = keys
            own_values[first:last, :, : values.shape[2]] = values

    def copy(self, source: int, target: int, places: slice) -> None:
        """What slot `source` holds at `places`, to slot `target`."""
        for keys, values in self._held:
            keys[target, :, places] = keys[source, :, places]
            values[target, :, places] = values[source, :, places]

    def copied(self, slot: int, tokens: int) -> list[Layer]:
        """The first tokens of one slot, as layers of one row."""
        rows = slice(slot, slot + 1)
        return [(k[rows, :, :tokens].clone(), v[rows, :, :tokens].clone()) for k, v in self._held]

    def _room(self, number: int, keys: torch.Tensor, values: torch.Tensor) -> Layer:
        # Zeros: what is masked counts nothing only as long as it is finite.
        if number == len(self._held):
            self._held.append((self._zeros(keys), self._zeros(values)))
        return self._held[number]

    def _zeros(self, like: torch.Tensor) -> torch.Tensor:
        return like.new_zeros(self.slots, like.shape[1], self.width, like.shape[3])


class PreallocatedLayer(DynamicLayer):
    """One layer of `rows` rows that all begin with the header, with room for `room` more tokens."""

    def __init__(self, header: Layer, rows: int, room: int) -> None:
        super().__init__()
        self._key_room = _preallocate(header[0], rows, room)
        self._value_room = _preallocate(header[1], rows, room)
        self._tokens = 0
        self.dtype, self.device = header[0].dtype, header[0].device
        self.is_initialized = True
        self._hold(header[0].shape[2])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Layer:
        """Write the new tokens' keys and values behind what is held; give all that is held."""
        new = slice(self._tokens, self._tokens + key_states.shape[2])
        self._key_room[:, :, new] = key_states
        self._value_room[:, :, new] = value_states
        return self._hold(new.stop)

    def _hold(self, tokens: int) -> Layer:
        self._tokens = tokens
        held = self._key_room[:, :, :tokens], self._value_room[:, :, :tokens]
        self.keys, self.values = held
        return held


def make_preallocated_cache(header: Sequence[Layer], rows: int, room: int) -> DynamicCache:
    """A cache for `rows` rows behind the header's layers (each of one row)."""
    cache = DynamicCache()
    cache.layers = [PreallocatedLayer(layer, rows, room) for layer in header]
    return cache


def _preallocate(held: torch.Tensor, rows: int, room: int) -> torch.Tensor:
    _, heads, tokens, width = held.shape
    whole = held.new_empty(rows, heads, tokens + room, width)
    whole[:, :, :tokens] = held
    return whole
