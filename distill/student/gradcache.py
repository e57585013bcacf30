"""Batches larger than memory: texts are embedded a mini-batch at a time, without keeping what the
encoder computed, and again on the way back (GradCache, Gao et al. 2021, 2101.06983)."""

from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

Features = Mapping[str, Any]


def embed_cached(model: nn.Module, features: Features, tokens: int) -> Tensor:
    """The texts' vectors, (texts, dimensions), with the gradients that embedding them at once would
    give. Peak memory is that of one mini-batch of at most so many tokens, padding included.

    This is GradCache as checkpointing of each mini-batch: the second pass replays the first's
    dropout and precision, and the loss in between remains an ordinary graph, so that gradients
    reach whatever else is trained, and other processes. sentence-transformers' CachedLossMixin
    computes the loss's gradient inside the forward pass instead, out of reach of gradient
    accumulation; and counts tokens without padding, of which a batch in random order is full.
    """
    lengths = features["attention_mask"].sum(1)
    order = lengths.argsort(stable=True)
    batches = order.split(_sizes(lengths[order].tolist(), tokens))
    passes = _passes(model)

    def embed(texts: Tensor) -> Tensor:
        vectors: Tensor = next(passes)(_select(features, texts))["sentence_embedding"]
        return vectors

    parts = [checkpoint(embed, texts, use_reentrant=False) for texts in batches]
    return torch.cat(parts)[order.argsort()]


def _passes(model: nn.Module) -> Iterator[nn.Module]:
    """What embeds the first mini-batch, the next, and so on. DistributedDataParallel must be called
    once, to average what gradients come; its processes may have different numbers of mini-batches,
    and it would have them talk at every call."""
    if isinstance(model, DistributedDataParallel):
        return chain([model], repeat(model.module))
    return repeat(model)


def _select(features: Features, texts: Tensor) -> dict[str, Any]:
    """A copy of these texts, without the columns that are padding to all of them, be it left or
    right. Some poolings change the attention mask in place, hence a new copy for each pass."""
    mask = features["attention_mask"]
    used = mask[texts].any(0).nonzero().flatten()
    columns = slice(int(used[0]), int(used[-1]) + 1)
    selected = {}
    for name, value in features.items():
        if isinstance(value, Tensor) and value.ndim and len(value) == len(mask):
            value = value[texts]
            if value.ndim > 1 and value.shape[1] == mask.shape[1]:
                value = value[:, columns].contiguous()
        selected[name] = value
    return selected


def _sizes(lengths: list[int], tokens: int) -> list[int]:
    """How many texts each mini-batch takes, of texts in rising order of length."""
    sizes: list[int] = []
    for length in lengths:
        if sizes and (sizes[-1] + 1) * length <= tokens:
            sizes[-1] += 1
        else:
            sizes.append(1)
    return sizes
