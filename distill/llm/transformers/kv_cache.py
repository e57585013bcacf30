"""Preallocated key-value caches.

transformers' dynamic cache copies all its tokens for every new one, which on a CPU is much of the
cost of a step of generation; here new tokens are written into preallocated memory.
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
    """Make the keyword argument by which a model's forward pass takes a cache: transformers 5.24
    renamed it, and vLLM's environment has an earlier version."""
    parameters = inspect.signature(model.forward).parameters
    return {"cache" if "cache" in parameters else "past_key_values": cache}


class SlotCache(DynamicCache):
    """A key-value cache of slots of `width` tokens, each for one row of its own length. A row fills
    its slot from the first place on without a gap, so that a token's place is its position in the
    text, and a row never attends to what lies after its last token."""

    def __init__(self, slots: int, width: int) -> None:
        super().__init__()
        self.slots = slots
        self.width = width
        self._slot_layers: list[Layer] = []
        self._rows = torch.empty(0)
        self._positions = torch.empty(0)
        self._window = (slice(0), slice(0))

    def select(self, first: int, positions: torch.Tensor, end: int) -> None:
        """Select the rows of the next forward pass: those from slot `first` on, with tokens at
        `positions` (rows, tokens), attending to the first `end` places."""
        last = first + positions.shape[0]
        self._rows = torch.arange(first, last, device=positions.device)[:, None]
        self._positions = positions
        self._window = (slice(first, last), slice(end))

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> Layer:
        """Write the new tokens' keys and values; return those of the rows that were selected."""
        keys, values = self._get_layer(layer_idx, key_states, value_states)
        keys[self._rows, :, self._positions] = key_states.transpose(1, 2)
        values[self._rows, :, self._positions] = value_states.transpose(1, 2)
        rows, places = self._window
        return keys[rows, :, places], values[rows, :, places]

    def write_header(self, first: int, last: int, header: Sequence[Layer]) -> None:
        """Begin the slots `first` to `last` with the header's layers (each of one row)."""
        for number, (keys, values) in enumerate(header):
            own_keys, own_values = self._get_layer(number, keys, values)
            own_keys[first:last, :, : keys.shape[2]] = keys
            own_values[first:last, :, : values.shape[2]] = values

    def copy_tokens(self, source: int, target: int, places: slice) -> None:
        """Copy the tokens of slot `source` at `places` to slot `target`."""
        for keys, values in self._slot_layers:
            keys[target, :, places] = keys[source, :, places]
            values[target, :, places] = values[source, :, places]

    def clone_tokens(self, slot: int, tokens: int) -> list[Layer]:
        """Clone the first tokens of one slot, as layers of one row."""
        rows = slice(slot, slot + 1)
        return [
            (keys[rows, :, :tokens].clone(), values[rows, :, :tokens].clone())
            for keys, values in self._slot_layers
        ]

    def _get_layer(self, number: int, keys: torch.Tensor, values: torch.Tensor) -> Layer:
        # Zeros: a masked value has no effect only as long as it is finite.
        if number == len(self._slot_layers):
            self._slot_layers.append((self._make_zeros(keys), self._make_zeros(values)))
        return self._slot_layers[number]

    def _make_zeros(self, like: torch.Tensor) -> torch.Tensor:
        return like.new_zeros(self.slots, like.shape[1], self.width, like.shape[3])


class PreallocatedLayer(DynamicLayer):
    """One layer of a cache for `rows` rows that all begin with the header, with preallocated memory
    for `room` more tokens."""

    def __init__(self, header: Layer, rows: int, room: int) -> None:
        super().__init__()
        self._key_buffer = _preallocate(header[0], rows, room)
        self._value_buffer = _preallocate(header[1], rows, room)
        self._tokens = 0
        self.dtype, self.device = header[0].dtype, header[0].device
        self.is_initialized = True
        self._set_length(header[0].shape[2])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Layer:
        """Write the new tokens' keys and values after the cached ones; return all."""
        new = slice(self._tokens, self._tokens + key_states.shape[2])
        self._key_buffer[:, :, new] = key_states
        self._value_buffer[:, :, new] = value_states
        return self._set_length(new.stop)

    def _set_length(self, tokens: int) -> Layer:
        self._tokens = tokens
        self.keys, self.values = self._key_buffer[:, :, :tokens], self._value_buffer[:, :, :tokens]
        return self.keys, self.values


def make_preallocated_cache(header: Sequence[Layer], rows: int, room: int) -> DynamicCache:
    """Make a cache for `rows` rows that begin with the header's layers (each of one row)."""
    cache = DynamicCache()
    cache.layers = [PreallocatedLayer(layer, rows, room) for layer in header]
    return cache


def _preallocate(header: torch.Tensor, rows: int, room: int) -> torch.Tensor:
    _, heads, tokens, width = header.shape
    buffer = header.new_empty(rows, heads, tokens + room, width)
    buffer[:, :, :tokens] = header
    return buffer
