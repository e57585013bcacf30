"""Mean pooling that leaves out the instruction as NV-Embed does."""

from typing import Any

from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor


class NvEmbedPooling(Pooling):
    """Mean pooling without the instruction's tokens, one of which it counts otherwise: the released
    model counts them without the beginning of the sequence and leaves that number out from the
    first on. The last one, the blank behind "Query:", becomes part of the text's first word."""

    def forward(self, features: dict[str, Tensor | Any], **kwargs: Any) -> dict[str, Tensor | Any]:
        """Add the pooled vectors, (batch, width), to `features`."""
        length = features.get("prompt_length")
        if length is not None:
            features = {**features, "prompt_length": length - 1}
        pooled: dict[str, Tensor | Any] = super().forward(features, **kwargs)
        return pooled
