"""Attention masks for models of which some layers look no further back than a window."""

from typing import Any

import torch

Mask = torch.Tensor | dict[str, torch.Tensor]


def for_layers(
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
