"""Latent attention (NV-Embed, arXiv 2405.17428, sec. 3.1): a module of sentence-transformers
between the transformer and mean pooling.

sentence-transformers imports no class of another package without `trust_remote_code=True`. With it,
and with distill installed, a folder that names this module loads by itself;
`distill.models.sentence_transformer.load_sentence_model` needs neither flag nor trust.
"""

from typing import Any

import torch
from sentence_transformers.base.modules import Module
from torch import Tensor, nn
from torch.nn import functional

_EXPANSION = 4
"""The MLP's inner width, in widths of the model."""


class LatentAttention(Module):
    """Each token's last state looks up a trained dictionary: the states are the queries, the
    latents keys and values. An MLP (GELU, gated) follows. Both have layer norms before and a
    residual around them, as in the released model, where each head is as wide as the model.

    Reads and writes `token_embeddings`, (batch, tokens, width). Tokens do not see one another, so
    padding and prompts are the pooling's affair.

    Args:
        width: of the states and of the latents.
        latents: how many entries the dictionary has (r).
        heads: h.
    """

    config_keys = ["width", "latents", "heads"]  # noqa: RUF012 (as the base class declares it)

    def __init__(self, width: int, latents: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.latents = latents
        self.heads = heads
        self.dictionary = nn.Parameter(torch.randn(latents, width))
        self.norm_states = nn.LayerNorm(width)
        self.norm_dictionary = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, heads * width, bias=False)
        self.to_key_value = nn.Linear(width, 2 * heads * width, bias=False)
        self.to_states = nn.Linear(heads * width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * _EXPANSION * width)
        self.down = nn.Linear(_EXPANSION * width, width)

    def forward(self, features: dict[str, Tensor | Any], **kwargs: Any) -> dict[str, Tensor | Any]:
        """Replace the token states (batch, tokens, width) in `features` by attended ones of that
        shape."""
        states = features["token_embeddings"]
        states = states + self._look_up(self.norm_states(states))
        features["token_embeddings"] = states + self._apply_mlp(self.norm_mlp(states))
        return features

    def _look_up(self, states: Tensor) -> Tensor:
        keys, values = self.to_key_value(self.norm_dictionary(self.dictionary)).chunk(2, dim=-1)
        attended = functional.scaled_dot_product_attention(
            self._split_by_head(self.to_query(states)),
            self._split_by_head(keys).expand(len(states), -1, -1, -1),
            self._split_by_head(values).expand(len(states), -1, -1, -1),
        )
        return self.to_states(attended.transpose(-2, -3).flatten(-2))  # type: ignore[no-any-return]

    def _split_by_head(self, flat: Tensor) -> Tensor:
        """Split by head: (..., n, heads * width) -> (..., heads, n, width)."""
        return flat.unflatten(-1, (self.heads, self.width)).transpose(-2, -3)

    def _apply_mlp(self, states: Tensor) -> Tensor:
        value, gate = self.up(states).chunk(2, dim=-1)
        return self.down(value * functional.gelu(gate))  # type: ignore[no-any-return]

    def save(
        self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any
    ) -> None:
        """Save configuration and weights, as sentence-transformers asks of a module."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **options: Any) -> "LatentAttention":
        """Load the module from a folder that `save` wrote."""
        known = {"subfolder", "token", "cache_folder", "revision", "local_files_only"}
        where = {key: value for key, value in options.items() if key in known}
        module = cls(**cls.load_config(model_name_or_path, **where))
        cls.load_torch_weights(model_name_or_path, model=module, **where)
        return module
