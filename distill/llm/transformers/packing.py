"""Packing: one prefix and its many continuations as one row of tokens.

A row is `prefix, c1, c2, ...`. Every continuation attends to the prefix and itself but to none of
the others, and takes the positions right after the prefix, so each scores as if it stood there
alone while the prefix is computed once. Endings follow each continuation in the same way, without
their last token, which predicts nothing that is needed: an ending of one token takes no place. A
header that all rows share precedes them as a key-value cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from distill.runtime.devices import CPU_BATCH_TOKENS

_PAD_SEGMENT = -1


@dataclass(frozen=True)
class PackedRow:
    """One row before padding: continuations of the request number `request`, from number `first`
    on, each with all the endings, which with `endings_only` alone are scored."""

    request: int
    first: int
    prefix: list[int]
    continuations: list[list[int]]
    endings: list[list[int]]
    endings_only: bool = False

    @property
    def scored(self) -> list[list[list[int]]]:
        """For each continuation, the texts that are scored: itself and each ending."""
        return [[*([] if self.endings_only else [c]), *self.endings] for c in self.continuations]

    @property
    def length(self) -> int:
        """Number of tokens in the row."""
        after = sum(len(ending) - 1 for ending in self.endings)
        return len(self.prefix) + sum(len(c) + after for c in self.continuations)


@dataclass(frozen=True)
class PackedBatch:
    """Rows padded to one length: tensors of shape (rows, length), the mask (rows, 1, length,
    header + length), and for each token that is scored, in the order of `PackedRow.scored`, its
    row, the place that predicts it, its id."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor
    token_rows: torch.Tensor
    token_places: torch.Tensor
    token_ids: torch.Tensor


def pack_rows(
    prefixes: Sequence[list[int]],
    continuations: Sequence[list[list[int]]],
    endings: Sequence[list[list[int]]],
    endings_only: Sequence[bool],
    budget: int,
) -> list[PackedRow]:
    """Pack requests into rows of at most `budget` tokens; a request whose continuations exceed it
    repeats its prefix in a further row."""
    rows = []
    for request, (prefix, request_continuations, request_endings, only) in enumerate(
        zip(prefixes, continuations, endings, endings_only, strict=True)
    ):
        first, packed, size = 0, list[list[int]](), len(prefix)
        for number, continuation in enumerate(request_continuations):
            own = len(continuation) + sum(len(ending) - 1 for ending in request_endings)
            if packed and size + own > budget:
                rows.append(PackedRow(request, first, prefix, packed, request_endings, only))
                first, packed, size = number, [], len(prefix)
            packed.append(continuation)
            size += own
        if packed:
            rows.append(PackedRow(request, first, prefix, packed, request_endings, only))
    return rows


def batch_rows(
    rows: Sequence[PackedRow], budget: int, device_type: str
) -> Iterator[list[PackedRow]]:
    """Group rows of similar length, at most `budget` padded tokens per batch, longest first. On a
    CPU batches are no larger than its caches, and being of fewer rows need less padding."""
    if device_type == "cpu":
        budget = min(budget, CPU_BATCH_TOKENS)
    ordered = sorted(rows, key=lambda row: (-row.length, row.request, row.first))
    start = 0
    while start < len(ordered):
        size = max(1, budget // max(1, ordered[start].length))
        yield ordered[start : start + size]
        start += size


def collate_rows(rows: Sequence[PackedRow], header: int, pad_id: int) -> PackedBatch:
    """Make padded tensors of the rows.

    Args:
        header: the number of cached tokens before each row.
    """
    length = max(row.length for row in rows)
    input_ids = torch.full((len(rows), length), pad_id)
    position_ids = torch.full((len(rows), length), header)
    segments = torch.full((len(rows), length), _PAD_SEGMENT)
    parents = torch.full((len(rows), length), _PAD_SEGMENT)
    token_rows, token_places, token_ids = list[int](), list[int](), list[int]()
    for number, row in enumerate(rows):
        place = 0
        for piece in _iterate_segments(row):
            end = place + len(piece.ids)
            input_ids[number, place:end] = torch.tensor(piece.ids)
            first = header + piece.position
            position_ids[number, place:end] = torch.arange(first, first + len(piece.ids))
            segments[number, place:end] = piece.segment
            parents[number, place:end] = piece.parent
            place = end
        for predictor, ids, start in _iterate_scored(row):
            token_rows += [number] * len(ids)
            token_places += [predictor, *range(start, start + len(ids) - 1)]
            token_ids += ids
    return PackedBatch(
        input_ids,
        position_ids,
        _make_mask(segments, parents, header),
        torch.tensor(token_rows),
        torch.tensor(token_places),
        torch.tensor(token_ids),
    )


class _Segment(NamedTuple):
    """Tokens in a row that attend to the prefix (segment 0), to their parent segment, and to one
    another; the first one's position counts from the prefix' first token."""

    ids: list[int]
    position: int
    segment: int
    parent: int


def _iterate_segments(row: PackedRow) -> Iterator[_Segment]:
    yield _Segment(row.prefix, 0, 0, 0)
    segment = 0
    for continuation in row.continuations:
        own = segment = segment + 1
        yield _Segment(continuation, len(row.prefix), own, 0)
        for ending in row.endings:
            segment += 1
            position = len(row.prefix) + len(continuation)
            yield _Segment(ending[:-1], position, segment, own)


def _iterate_scored(row: PackedRow) -> Iterator[tuple[int, list[int], int]]:
    """Iterate over what is scored, in the order of `PackedRow.scored`: the place that predicts its
    first token, its ids, and the place where it starts."""
    place = len(row.prefix)
    for continuation in row.continuations:
        if not row.endings_only:
            yield len(row.prefix) - 1, continuation, place
        place += len(continuation)
        last = place - 1
        for ending in row.endings:
            yield last, ending, place
            place += len(ending) - 1


def _make_mask(segments: torch.Tensor, parents: torch.Tensor, header: int) -> torch.Tensor:
    """Make the attention mask: each token attends to the header, and of the tokens before it to the
    prefix, to its own segment and to the parent segment."""
    rows, length = segments.shape
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    prefix = (segments == 0)[:, None, :]
    own = segments[:, :, None] == segments[:, None, :]
    parent = parents[:, :, None] == segments[:, None, :]
    within = causal & (prefix | own | parent)
    cached = torch.ones(rows, length, header, dtype=torch.bool)
    return torch.cat([cached, within], dim=2)[:, None]
