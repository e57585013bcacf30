"""Batches larger than memory: texts are embedded a mini-batch at a time, without keeping what the
encoder computed, and again on the way back (GradCache, Gao et al. 2021, 2101.06983)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain, repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from distill.embed.batches import batch_by_length
from distill.runtime import processes

Features = Mapping[str, Any]
_CPU_TOKENS = 512
"""Tokens that a CPU embeds at once, there and back: more do not fit its caches."""


def embed_cached(model: nn.Module, columns: Sequence[Features], tokens: int) -> list[Tensor]:
    """Embed each column, (texts, dimensions), with the gradients that embedding it at once would
    give. Peak memory is that of one mini-batch of at most `tokens` tokens, padding included, of
    texts of any column. A CPU computes it in smaller parts, which fit its caches and hold texts of
    more similar length.

    This is GradCache as checkpointing of each part but the last ones: what was computed for the
    last mini-batch may stay, for the way back begins with it. The second pass replays the first's
    dropout and precision, and the loss in between remains an ordinary graph, so that gradients
    reach whatever else is trained, and other processes. sentence-transformers' CachedLossMixin
    computes the loss's gradient inside the forward pass instead, out of reach of gradient
    accumulation, embeds every text twice, and counts tokens without padding, of which a batch in
    random order is full.
    """
    texts = [text for features in columns for text in _iterate_unpadded(features)]
    there = columns[0]["attention_mask"]
    part = min(tokens, _CPU_TOKENS) if there.device.type == "cpu" else tokens
    lengths = [len(text["input_ids"]) for text in texts]
    batches = list(batch_by_length(lengths, part))
    batches.reverse()  # the fullest is the last
    in_memory = _count_in_memory([lengths[batch[0]] * len(batch) for batch in batches], tokens)
    passes = _iterate_passes(model)

    def embed(batch: list[int], _: Tensor) -> Tensor:
        vectors: Tensor = next(passes)(_pad([texts[i] for i in batch]))["sentence_embedding"]
        return vectors

    # The second pass replays the dropout of those devices alone whose tensors are arguments.
    parts = [checkpoint(embed, batch, there, use_reentrant=False) for batch in batches[:-in_memory]]
    # Where processes gather a spread model's weights at every call, none may call less often.
    idle = _find_max_over_processes(len(batches), there.device) - len(batches)
    one = batches[0][:1]
    nothing = [checkpoint(embed, one, there, use_reentrant=False) * 0 for _ in range(idle)]
    last = torch.cat([embed(batch, there) for batch in batches[-in_memory:]])
    vectors = torch.cat([*parts, last + sum(vector.sum() for vector in nothing)])
    places = torch.tensor(list(chain(*batches)), device=vectors.device).argsort()
    return list(vectors[places].split([len(features["attention_mask"]) for features in columns]))


def _count_in_memory(sizes: Sequence[int], tokens: int) -> int:
    """Count how many of the last parts have at most `tokens` tokens together, one at least."""
    totals = accumulate(reversed(sizes))
    return max(1, sum(total <= tokens for total in totals))


def _iterate_passes(model: nn.Module) -> Iterator[nn.Module]:
    """Yield what embeds the first mini-batch, the next, and so on. DistributedDataParallel must be
    called once, to average what gradients come; its processes may have different numbers of
    mini-batches, and it would have them talk at every call."""
    if isinstance(model, DistributedDataParallel):
        return chain([model], repeat(model.module))
    return repeat(model)


def _iterate_unpadded(features: Features) -> Iterator[dict[str, Any]]:
    """Yield each text by itself, be the padding left or right of it."""
    mask = features["attention_mask"]
    starts, lengths = mask.argmax(1).tolist(), mask.sum(1).clamp(min=1).tolist()
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        yield {
            name: _cut_row(value, mask, row, slice(start, start + length))
            for name, value in features.items()
        }


def _cut_row(value: Any, mask: Tensor, row: int, columns: slice) -> Any:
    if not isinstance(value, Tensor) or value.ndim == 0 or len(value) != len(mask):
        return value
    return value[row, columns] if value.shape[:2] == mask.shape else value[row]


def _pad(texts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pad texts to a batch of its own, as some poolings change the attention mask in place."""
    batch: dict[str, Any] = {}
    for name, first in texts[0].items():
        values = [text[name] for text in texts]
        if not isinstance(first, Tensor):
            batch[name] = first
        else:
            batch[name] = pad_sequence(values, True) if first.ndim else torch.stack(values)
    return batch


def _find_max_over_processes(count: int, device: torch.device) -> int:
    """Return the largest of the processes' counts. Those that spread a model must call it equally
    often, for they gather its weights at every call."""
    if not processes.is_sharded():
        return count
    most = torch.tensor(count, device=device)
    torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    return int(most)
