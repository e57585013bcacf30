"""Forward passes over the rows of a slot cache."""

from collections.abc import Sequence
from typing import Any

import torch

from distill.llm.transformers.kv_cache import SlotCache, make_cache_argument

Mask = torch.Tensor | dict[str, torch.Tensor]
"""One mask for all layers, or one for each kind of layer."""


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
            attention_mask=make_layer_mask(self._model.config, before, positions, places[None]),
            use_cache=True,
            **make_cache_argument(self._model.base_model, self.cache),
        ).last_hidden_state
        ends: torch.Tensor = hidden[torch.arange(len(pieces), device=device), lengths - 1]
        return ends


def make_layer_mask(
    config: Any, whole: torch.Tensor, asking: torch.Tensor, places: torch.Tensor
) -> Mask:
    """The mask as a model of this configuration takes it: `whole`, or where layers have a sliding
    window what of it is near enough, or one mask for either kind of layer.

    Args:
        whole: what each token may see in any layer, bool, (rows, 1, tokens, places).
        asking: positions of the tokens, (rows, tokens).
        places: positions of what they see, (rows, places) or (1, places).
    """
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or ["sliding_attention"])
    if not window or "sliding_attention" not in kinds:
        return whole
    near = whole & (places[:, None, None, :] > asking[:, None, :, None] - window)
    if kinds == {"sliding_attention"}:
        return near
    return {"full_attention": whole, "sliding_attention": near}
