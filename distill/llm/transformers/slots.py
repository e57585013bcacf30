"""Forward passes over the rows of a slot cache, and the attention masks that models take."""

from collections.abc import Sequence
from typing import Any

import torch

from distill.llm.transformers.kv_cache import SlotCache, make_cache_argument

Mask = torch.Tensor | dict[str, torch.Tensor]
"""One mask for all layers, or one for each kind of layer."""


class Slots:
    """Runs a causal model over `slots` rows of up to `width` tokens, a piece at a time. Where rows
    of different lengths are computed together, padding of the shorter ones goes to the last
    place."""

    def __init__(self, model: Any, slots: int, width: int) -> None:
        self._model = model
        self.cache = SlotCache(slots, width)

    def forward(
        self, first: int, pieces: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> torch.Tensor:
        """Append a piece of token ids to each row from slot `first` on.

        Args:
            starts: the number of tokens that each row has already.

        Returns:
            The hidden state at each piece's end, (rows, hidden size).
        """
        longest = max(len(piece) for piece in pieces)
        padded = [[*piece, *[0] * (longest - len(piece))] for piece in pieces]
        device = self._model.device
        input_ids = torch.tensor(padded, device=device)
        lengths = torch.tensor([len(piece) for piece in pieces], device=device)
        offsets = torch.arange(longest, device=device)
        positions = torch.tensor(starts, device=device)[:, None] + offsets
        positions = positions.where(offsets < lengths[:, None], self.cache.width - 1)
        end = max(start + len(piece) for start, piece in zip(starts, pieces, strict=True))
        self.cache.select(first, positions, end)
        places = torch.arange(end, device=device)
        before = places <= positions[:, None, :, None]
        hidden = self._model.base_model(
            input_ids=input_ids,
            position_ids=positions,
            attention_mask=make_layer_mask(self._model.config, before, positions, places[None]),
            use_cache=True,
            **make_cache_argument(self._model.base_model, self.cache),
        ).last_hidden_state
        ends: torch.Tensor = hidden[torch.arange(len(pieces), device=device), lengths - 1]
        return ends


def make_layer_mask(
    config: Any, full: torch.Tensor, positions: torch.Tensor, places: torch.Tensor
) -> Mask:
    """Make the attention mask that a model of this configuration takes: `full`, or `full` within
    the sliding window where layers have one, or one mask for each kind of layer.

    Args:
        full: what each token may attend to in any layer, bool, (rows, 1, tokens, places).
        positions: positions of the tokens, (rows, tokens).
        places: positions that they attend to, (rows, places) or (1, places).
    """
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or ["sliding_attention"])
    if not window or "sliding_attention" not in kinds:
        return full
    near = full & (places[:, None, None, :] > positions[:, None, :, None] - window)
    if kinds == {"sliding_attention"}:
        return near
    return {"full_attention": full, "sliding_attention": near}
