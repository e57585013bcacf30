"""One prefix and its many continuations as one row of tokens.

A row is `prefix, c1, c2, ...`. Every continuation sees the prefix and itself but none of the
others, and takes the positions right behind the prefix, so each scores as if it stood there alone
while the prefix is computed once. A header that all rows share precedes them as a key-value cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

_PAD_SEGMENT = -1


@dataclass(frozen=True)
class Packed:
    """One row before padding. `request` and `first` say whose continuations these are."""

    request: int
    first: int
    prefix: list[int]
    continuations: list[list[int]]

    @property
    def length(self) -> int:
        return len(self.prefix) + sum(len(c) for c in self.continuations)


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length: tensors of shape (rows, length), the mask (rows, 1, length,
    header + length), and for each continuation token its row, the place that predicts it, its id.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor
    token_rows: torch.Tensor
    token_places: torch.Tensor
    token_ids: torch.Tensor


def pack(
    prefixes: Sequence[list[int]], continuations: Sequence[list[list[int]]], budget: int
) -> list[Packed]:
    """Rows of at most `budget` tokens; a request whose continuations exceed it repeats its prefix
    in a further row."""
    rows = []
    for request, (prefix, all_of_it) in enumerate(zip(prefixes, continuations, strict=True)):
        first, held, size = 0, list[list[int]](), len(prefix)
        for number, continuation in enumerate(all_of_it):
            if held and size + len(continuation) > budget:
                rows.append(Packed(request, first, prefix, held))
                first, held, size = number, [], len(prefix)
            held.append(continuation)
            size += len(continuation)
        if held:
            rows.append(Packed(request, first, prefix, held))
    return rows


def batches(rows: Sequence[Packed], budget: int) -> Iterator[list[Packed]]:
    """Rows of similar length together, at most `budget` padded tokens at a time, longest first."""
    ordered = sorted(rows, key=lambda row: (-row.length, row.request, row.first))
    start = 0
    while start < len(ordered):
        size = max(1, budget // max(1, ordered[start].length))
        yield ordered[start : start + size]
        start += size


def collate(rows: Sequence[Packed], header: int, pad_id: int) -> Batch:
    """Padded tensors of the rows; `header` is the number of cached tokens before each."""
    length = max(row.length for row in rows)
    input_ids = torch.full((len(rows), length), pad_id)
    position_ids = torch.full((len(rows), length), header)
    segments = torch.full((len(rows), length), _PAD_SEGMENT)
    token_rows, token_places, token_ids = [], [], []
    for number, row in enumerate(rows):
        at = len(row.prefix)
        input_ids[number, :at] = torch.tensor(row.prefix)
        position_ids[number, :at] = torch.arange(header, header + at)
        segments[number, :at] = 0
        for segment, continuation in enumerate(row.continuations, start=1):
            end = at + len(continuation)
            input_ids[number, at:end] = torch.tensor(continuation)
            behind = header + len(row.prefix)
            position_ids[number, at:end] = torch.arange(behind, behind + len(continuation))
            segments[number, at:end] = segment
            token_rows += [number] * len(continuation)
            token_places += [len(row.prefix) - 1, *range(at, end - 1)]
            token_ids += continuation
            at = end
    return Batch(
        input_ids,
        position_ids,
        _visible(segments, header),
        torch.tensor(token_rows),
        torch.tensor(token_places),
        torch.tensor(token_ids),
    )


def _visible(segments: torch.Tensor, header: int) -> torch.Tensor:
    """Who sees whom: the header, and of what came before, the prefix and one's own segment."""
    rows, length = segments.shape
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    of_prefix = (segments == 0)[:, None, :]
    own = segments[:, :, None] == segments[:, None, :]
    within = causal & (of_prefix | own)
    cached = torch.ones(rows, length, header, dtype=torch.bool)
    return torch.cat([cached, within], dim=2)[:, None]
