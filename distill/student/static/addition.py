"""A transformer's vector and, times a weight, that of a static query encoder of the same tokens:
their sum, of unit length. It is made of sentence-transformers' own modules alone, so that the model
loads without distill and without `trust_remote_code`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import (
    Normalize,
    Pooling,
    StaticEmbedding,
    WordEmbeddings,
)
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from distill.models.sentence_transformer import load_sentence_model
from distill.student.base_model import get_first_transformer, get_text_tokenizer

_PRESERVED_WEIGHT = "cls_token_embeddings"
"""What Pooling passes on as it is, under its mode cls: here the transformer's vector."""


def add_static(
    model: SentenceTransformer, static: StaticEmbedding, weight: float, texts: Sequence[str]
) -> None:
    """Append to a transformer, whose vectors have unit length, what adds the static encoder's to
    them, in place. A text's static vector is the sum of its tokens' vectors over the root of their
    number, whose length is `weight` on average over `texts`: about the same for long and short
    texts, and less for one whose tokens learnt a small weight.

    Args:
        static: of the transformer's tokenizer, or of one with fewer of its tokens. A token that it
            lacks adds nothing.
        texts: queries as the student reads them, prompt and all.
    """
    tokenizer = get_text_tokenizer(get_first_transformer(model))
    vectors = map_tokens(static, tokenizer)
    width = vectors.shape[1]
    words = WordEmbeddings(tokenizer, vectors)
    length = _measure_length(model, words, texts)
    identity = torch.eye(width)
    modules = (
        words,
        _make_linear(identity, _PRESERVED_WEIGHT),
        Pooling(width, ("cls", "mean_sqrt_len_tokens")),
        _make_linear(torch.cat([identity, identity * (weight / length)], dim=1)),
        Normalize(),
    )
    for module in modules:
        model.append(module.to(model.device))


def map_tokens(static: StaticEmbedding, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Return the static encoder's token vectors under another tokenizer's numbers, (tokens,
    dimensions) float32: 0 for special tokens and for those that it lacks."""
    numbers, special = tokenizer.get_vocab(), {*tokenizer.all_special_ids}
    learnt = static.embedding.weight.detach().to("cpu", torch.float32)
    vectors = torch.zeros(max(numbers.values()) + 1, learnt.shape[1])
    for token, row in static.tokenizer.get_vocab().items():
        number = numbers.get(token)
        if number is not None and number not in special:
            vectors[number] = learnt[row]
    return vectors


def load_static(folder: Path) -> StaticEmbedding:
    """Load the token vectors of a saved static query encoder."""
    router: Any = load_sentence_model(folder, device="cpu")[0]
    first = router.sub_modules["query"][0]
    if not isinstance(first, StaticEmbedding):
        raise TypeError(f"a {type(first).__name__} has no token vectors")
    return first


@torch.inference_mode()
def _measure_length(
    model: SentenceTransformer, words: WordEmbeddings, texts: Sequence[str]
) -> float:
    """Measure the mean length of the texts' static vectors; 1 where no text has a known token."""
    features = batch_to_device(model.preprocess([*texts]), torch.device("cpu"))
    pooling = Pooling(words.get_embedding_dimension(), "mean_sqrt_len_tokens")
    pooled = pooling(words(features))["sentence_embedding"]
    return float(pooled.norm(dim=1).mean()) or 1.0


def _make_linear(weights: Tensor, output: str = "sentence_embedding") -> Dense:
    rows, columns = weights.shape
    return Dense(
        columns,
        rows,
        bias=False,
        activation_function=nn.Identity(),
        init_weight=weights,
        module_output_name=output,
    )
