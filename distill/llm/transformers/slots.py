"""Forward passes over the rows of a slot cache."""

from collections.abc import Sequence
from typing import Any

import torch

from distill.llm.transformers.kv_cache import SlotCache, as_argument
from distill.llm.transformers.masks import for_layers


class Slots:
    """A causal model and `slots` rows of up to `width` tokens, computed a piece at a time. Where
    rows of different lengths are computed together the last place takes what pads the shorter."""

    def __init__(self, model: Any, slots: int, width: int) -> None:
        self._model = model
        self.cache = SlotCache(slots, width)

    def forward(
        self, first: int, pieces: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> torch.Tensor:
        """Append a piece of token ids to each row from slot `first` on; `starts` are the tokens
        that each holds already. Gives the hidden state at each piece's end, (rows, hidden size)."""
        longest = max(len(piece) for piece in pieces)
        padded = [[*piece, *[0] * (longest - len(piece))] for piece in pieces]
        device = self._model.device
        input_ids = torch.tensor(padded, device=device)
        lengths = torch.tensor([len(piece) for piece in pieces], device=device)
        offsets = torch.arange(longest, device=device)
        positions = torch.tensor(starts, device=device)[:, None] + offsets
        positions = positions.where(offsets < lengths[:, None], self.cache.width - 1)
        upto = max(start + len(piece) for start, piece in zip(starts, pieces, strict=True))
        self.cache.aim(first, positions, upto)
        places = torch.arange(upto, device=device)
        before = places <= positions[:, None, :, None]
        hidden = self._model.base_model(
            input_ids=input_ids,
            position_ids=positions,
            attention_mask=for_layers(self._model.config, before, positions, places[None]),
            use_cache=True,
            **as_argument(self._model.base_model, self.cache),
        ).last_hidden_state
        ends: torch.Tensor = hidden[torch.arange(len(pieces), device=device), lengths - 1]
        return ends
