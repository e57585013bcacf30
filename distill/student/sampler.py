"""Batches: of rows that do not share a positive, and are of similar length, so that little is
computed on padding; and of several datasets, one after the other."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler, MultiDatasetDefaultBatchSampler

from distill.errors import UserError

_POOL = 32
"""So many batches at most are sorted by length together; the more, the less padding and chance,"""
_SHARE = 4
"""and at most one in so many of all: else a small set would have the same batches in each epoch."""


class NoSharedPositive(DefaultBatchSampler):
    """Each example once, and no two of a batch with the same positive: the one would be a false
    negative of the other, and is masked, so its place would be wasted.

    Rows are dealt like cards, those of one positive after each other, the positives in random
    order: with at least as many batches as a positive has rows, no batch gets two. Batches differ
    by one row at most in size. With `lengths`, the rows of up to 32 batches at a time are then
    sorted by length among these; which rows these are stays random. (transformers'
    LengthGroupedSampler leaves the batches in falling order of length, so that training would end
    on the shortest.)

    Args:
        positives: which one each row has.
        lengths: tokens of each row; None: nothing is sorted.
        drop_last: full batches alone; rows that are over are left out of the epoch.
    """

    def __init__(
        self,
        positives: Sequence[int],
        lengths: NDArray[np.int64] | None,
        batch_size: int,
        drop_last: bool,
        generator: torch.Generator,
        valid_label_columns: list[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            range(len(positives)), batch_size, drop_last, valid_label_columns, generator, seed
        )
        self.positives = positives
        self.lengths = lengths
        self.batches = self._count(list(Counter(positives).values()))

    def _count(self, frequencies: list[int]) -> int:
        """So many batches that each row has a place; or, of full ones, the most there can be."""
        if not self.drop_last:
            full = math.ceil(len(self.positives) / self.batch_size)
            return max(full, *frequencies, 0)
        full = len(self.positives) // self.batch_size
        while sum(min(full, n) for n in frequencies) < full * self.batch_size:
            full -= 1
        return full

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._deal()
        if self.lengths is not None:
            lengths, pools = self.lengths, max(1, min(_POOL, len(batches) // _SHARE))
            batches = [b for pool in _cut(batches, pools) for b in self._sorted(pool, lengths)]
        for number in _shuffled(len(batches), self.generator):
            yield batches[number]

    def _deal(self) -> list[list[int]]:
        groups: dict[int, list[int]] = defaultdict(list)
        for row in _shuffled(len(self.positives), self.generator):
            groups[self.positives[row]].append(row)
        rows = [row for group in groups.values() for row in group[: self.batches]]
        if self.drop_last:
            rows = rows[: self.batches * self.batch_size]
        return [rows[start :: self.batches] for start in range(self.batches)]

    def _sorted(self, pool: list[list[int]], lengths: NDArray[np.int64]) -> list[list[int]]:
        """The rows of a pool in batches of the same sizes, the longest rows first. Where as many
        rows of a positive are left as batches, the next batch must take one: then none is left
        without a place."""
        rest = sorted((row for batch in pool for row in batch), key=lambda row: -lengths[row])
        left = Counter(self.positives[row] for row in rest)
        sizes = sorted(map(len, pool), reverse=True)
        batches = []
        for number, size in enumerate(sizes):
            due = {positive for positive, rows in left.items() if rows == len(sizes) - number}
            batch, rest = self._longest(rest, size, due)
            left.subtract(self.positives[row] for row in batch)
            batches.append(batch)
        return batches

    def _longest(self, rows: list[int], size: int, due: set[int]) -> tuple[list[int], list[int]]:
        """The first rows with positives of their own, those that are due among them; the rest."""
        room = size - len(due)
        batch: dict[int, int] = {}
        rest = []
        for row in rows:
            positive = self.positives[row]
            if positive in batch or (positive not in due and room == 0):
                rest.append(row)
                continue
            batch[positive] = row
            room -= positive not in due
        return list(batch.values()), rest


class Blocks(MultiDatasetDefaultBatchSampler):
    """All batches of several datasets, in random order; those that several processes take at one
    step are of one dataset, and each process has as many: what does not fill a block is left out.

    sentence-transformers' ProportionalBatchSampler, but for the processes.

    Raises:
        UserError: if there is no batch for each process.
    """

    def __init__(self, dataset: Any, processes: int, **rest: Any) -> None:
        super().__init__(dataset, **rest)
        self.processes = processes
        if processes > 1:
            # Datasets differ in it, and accelerate would drop what is not of it.
            self.batch_size = None  # type: ignore[assignment]
        if not len(self):
            raise UserError(
                f"train.batch_size, {processes} processes",
                f"{len(self.dataset)} rows do not fill a batch for each of them",
                "lower train.batch_size, or start fewer processes",
            )

    def __iter__(self) -> Iterator[list[int]]:
        if self.generator is not None:
            self.generator.manual_seed(self.seed + self.epoch)
        offsets = [0, *self.dataset.cumulative_sizes]
        turns = [n for n, count in enumerate(self._blocks()) for _ in range(count)]
        batches = [iter(sampler) for sampler in self.batch_samplers]
        for turn in _shuffled(len(turns), self.generator):
            part = turns[turn]
            for _ in range(self.processes):
                yield [offsets[part] + row for row in next(batches[part])]

    def __len__(self) -> int:
        return sum(self._blocks()) * self.processes

    def _blocks(self) -> list[int]:
        return [len(sampler) // self.processes for sampler in self.batch_samplers]


def _shuffled(count: int, generator: torch.Generator | None) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


def _cut(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
