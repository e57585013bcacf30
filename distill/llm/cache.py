"""A key-value cache that begins with a header which all rows share, and has room for what follows.

transformers' dynamic cache copies everything that it holds for every new token; here new tokens
are written into room set aside, which on a CPU is most of what a step of generation costs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

Layer = tuple[torch.Tensor, torch.Tensor]
"""Keys and values, each (rows, heads, tokens, width)."""


class RoomyLayer(DynamicLayer):
    """One layer of `rows` rows that all begin with the header, with room for `room` more tokens."""

    def __init__(self, header: Layer, rows: int, room: int) -> None:
        super().__init__()
        self._key_room = _with_room(header[0], rows, room)
        self._value_room = _with_room(header[1], rows, room)
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


def cache_behind(header: Sequence[Layer], rows: int, room: int) -> DynamicCache:
    """A cache for `rows` rows behind the header's layers (each of one row)."""
    cache = DynamicCache()
    cache.layers = [RoomyLayer(layer, rows, room) for layer in header]
    return cache


def _with_room(held: torch.Tensor, rows: int, room: int) -> torch.Tensor:
    _, heads, tokens, width = held.shape
    whole = held.new_empty(rows, heads, tokens + room, width)
    whole[:, :, :tokens] = held
    return whole
