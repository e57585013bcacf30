"""A static student in training: each token has a vector and a weight in the mean. Both are one
matrix once the training is over: sentence-transformers' own StaticEmbedding."""

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import embedding_bag


class GatedStaticEmbedding(StaticEmbedding):
    """The weighted mean of token vectors. Adam moves every number by about the learning rate a
    step, and a weight is to move faster than a vector's coordinates: its logarithm is `rate` times
    a parameter.

    Args:
        vectors: (tokens, dimensions) float32, as they are before training.
    """

    rate: Tensor

    def __init__(self, tokenizer: Tokenizer, vectors: Tensor, rate: float) -> None:
        super().__init__(tokenizer, vectors)
        self.log_gate = nn.Parameter(torch.zeros(len(vectors)))
        self.register_buffer("rate", torch.tensor(rate))

    def weigh_tokens(self) -> Tensor:
        """Compute the tokens' weights: (tokens,), all above 0, and 1 before training."""
        return (self.rate * self.log_gate).exp()

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Compute `sentence_embedding`, (texts, dimensions), either of `input_ids` (texts, tokens)
        with their `attention_mask`, or of all texts' tokens in a row with the `offsets` at which
        the texts begin, as StaticEmbedding has them."""
        ids = features["input_ids"]
        weights = self.weigh_tokens()[ids]
        offsets = features.get("offsets")
        if offsets is None:
            mask = features["attention_mask"]
            weights, lengths = weights * mask, mask.sum(1)
        else:
            lengths = torch.diff(offsets, append=offsets.new_tensor([len(ids)]))
        total = embedding_bag(
            ids, self.embedding.weight, offsets, mode="sum", per_sample_weights=weights
        )
        return features | {"sentence_embedding": total / lengths.clamp(min=1)[:, None]}

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **options: Any) -> "GatedStaticEmbedding":
        """Load what `save` wrote, in a checkpoint of a training."""
        plain = StaticEmbedding.load(model_name_or_path, *args, **options)
        subfolder = str(options.get("subfolder", ""))
        weights = cls.load_torch_weights(model_name_or_path, subfolder, local_files_only=True)
        gated = cls(plain.tokenizer, plain.embedding.weight.detach(), float(weights["rate"]))
        gated.load_state_dict(weights)
        return gated


def add_gate(model: SentenceTransformer, rate: float) -> None:
    """Give each token of a static model a weight that learns, in place; the vectors stay what they
    were."""
    plain = get_first_static(model)
    vectors = plain.embedding.weight.detach()
    model[0] = GatedStaticEmbedding(plain.tokenizer, vectors, rate).to(vectors.device)


def fold_gate(model: SentenceTransformer) -> None:
    """Multiply, after training, each token's vector by its weight, in place, so that the model is
    an ordinary one with the same vectors."""
    gated = get_first_static(model)
    if not isinstance(gated, GatedStaticEmbedding):
        raise TypeError("the token vectors have no weights")
    with torch.no_grad():
        vectors = gated.embedding.weight * gated.weigh_tokens()[:, None]
    model[0] = StaticEmbedding(gated.tokenizer, vectors)


def get_first_static(model: SentenceTransformer) -> StaticEmbedding:
    """Return the module that has the token vectors."""
    first = model[0]
    if not isinstance(first, StaticEmbedding):
        raise TypeError(f"a {type(first).__name__} has no token vectors")
    return first
