"""Batches: of rows that do not share a positive, and are of similar length, so that little is
computed on padding; and of several datasets, one after the other."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler, MultiDatasetDefaultBatchSampler

from distill.errors import UserError

_POOL = 32
"""Largest number of batches that are sorted by length together: more means less padding and
chance."""
_SHARE = 4
"""At most one in this number of all batches is sorted together: otherwise a small set would have
the same batches in each epoch."""


class NoSharedPositiveSampler(DefaultBatchSampler):
    """Each example once, and as far as can be no two of a batch with the same positive: the one
    would be a false negative of the other, and is masked, so its place would be wasted.

    Rows are dealt like cards, those of one positive after each other, the positives in random
    order. So a positive that has no more rows than there are batches is in each of them once at
    most, and one that has more is spread evenly over all: a label that many texts have does not
    make the batches smaller. Batches differ in size by one row at most, or by one for each process.
    With `lengths`, the rows of up to 32 batches at a time are then sorted by length among these;
    which rows these are stays random. (transformers' LengthGroupedSampler leaves the batches in
    falling order of length, so that training would end on the shortest.)

    Args:
        positives: which one each row has.
        lengths: tokens of each row; None: nothing is sorted.
        batch_size: of all processes together.
        processes: each batch has as many rows for each of them; fewer rows than processes are left
            out of an epoch.
    """

    def __init__(
        self,
        positives: Sequence[int],
        lengths: NDArray[np.int64] | None,
        batch_size: int,
        processes: int,
        generator: torch.Generator,
        valid_label_columns: list[str] | None = None,
        seed: int = 0,
    ) -> None:
        rows = range(len(positives))
        super().__init__(rows, batch_size, False, valid_label_columns, generator, seed)
        self.positives = positives
        self.lengths = lengths
        self.processes = processes
        full = math.ceil(len(positives) / batch_size)
        self.batches = min(full, len(positives) // processes)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._deal()
        if self.lengths is not None:
            lengths, pools = self.lengths, max(1, min(_POOL, len(batches) // _SHARE))
            batches = [
                b for pool in _cut(batches, pools) for b in self._sort_by_length(pool, lengths)
            ]
        for number in _shuffle(len(batches), self.generator):
            yield batches[number]

    def _deal(self) -> list[list[int]]:
        """Deal, round after round, a row to every batch; the last rounds are of some batches
        alone."""
        groups: dict[int, list[int]] = defaultdict(list)
        for row in _shuffle(len(self.positives), self.generator):
            groups[self.positives[row]].append(row)
        rows = [row for group in groups.values() for row in group]
        if not self.batches:
            return []
        each, more = divmod(len(rows) // self.processes, self.batches)
        whole = each * self.processes * self.batches
        last = rows[whole : whole + more * self.processes]
        batches = [rows[start : whole : self.batches] for start in range(self.batches)]
        return [
            batch + (last[number::more] if number < more else [])
            for number, batch in enumerate(batches)
        ]

    def _sort_by_length(self, pool: list[list[int]], lengths: NDArray[np.int64]) -> list[list[int]]:
        """Return the rows of a pool in batches of the same sizes, the longest rows first. A
        positive's rows stay evenly spread: no batch has more of them than their share, rounded up,
        and each takes what the later ones could not."""
        rest = sorted((row for batch in pool for row in batch), key=lambda row: -lengths[row])
        left = Counter(self.positives[row] for row in rest)
        most = {positive: math.ceil(rows / len(pool)) for positive, rows in left.items()}
        sizes = sorted(map(len, pool), reverse=True)
        batches = []
        for number, size in enumerate(sizes):
            later = len(sizes) - number - 1
            due = Counter({p: rows - most[p] * later for p, rows in left.items()})
            batch, rest = self._take_longest(rest, size, most, +due)
            left.subtract(self.positives[row] for row in batch)
            batches.append(batch)
        return batches

    def _take_longest(
        self, rows: list[int], size: int, most: Mapping[int, int], due: Counter[int]
    ) -> tuple[list[int], list[int]]:
        """Return the first rows, of a positive as many as may be and at least as many as are due;
        and the rest."""
        room = size - due.total()
        taken: Counter[int] = Counter()
        batch, rest = [], []
        for row in rows:
            positive = self.positives[row]
            is_due = taken[positive] < due[positive]
            if taken[positive] < most[positive] and (is_due or room > 0):
                batch.append(row)
                taken[positive] += 1
                room -= not is_due
            else:
                rest.append(row)
        # Of several processes' batches one may be larger than the others' shares add up to.
        missing = size - len(batch)
        return batch + rest[:missing], rest[missing:]


class MixedBatchSampler(MultiDatasetDefaultBatchSampler):
    """All batches of several datasets, in random order; each in as many parts as there are
    processes, which take them at one step.

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
                f"{processes} processes",
                f"{len(self.dataset)} rows are not one for each of them",
                "start fewer processes, or train on more examples",
            )

    def __iter__(self) -> Iterator[list[int]]:
        if self.generator is not None:
            self.generator.manual_seed(self.seed + self.epoch)
        offsets = [0, *self.dataset.cumulative_sizes]
        turns = [n for n, count in enumerate(self.count_batches()) for _ in range(count)]
        batches = [iter(sampler) for sampler in self.batch_samplers]
        for turn in _shuffle(len(turns), self.generator):
            part = turns[turn]
            rows = [offsets[part] + row for row in next(batches[part])]
            yield from _cut(rows, len(rows) // self.processes)

    def __len__(self) -> int:
        return sum(self.count_batches()) * self.processes

    def count_batches(self) -> list[int]:
        """Return the batches of each dataset."""
        return [len(sampler) for sampler in self.batch_samplers]


def _shuffle(count: int, generator: torch.Generator | None) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


def _cut(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
