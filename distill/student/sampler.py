"""Batches of texts of similar length, so that little is computed on padding."""

from collections.abc import Iterator

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

_POOL = 32
"""So many batches are sorted by length together; the more, the less padding and chance."""


class SimilarLengths(DefaultBatchSampler):
    """Each text once, in random order: pools of shuffled texts sorted by length and cut into
    batches, and the batches shuffled. (transformers' LengthGroupedSampler leaves the batches in
    falling order of length, so that training would end on the shortest.)"""

    def __init__(
        self,
        lengths: list[int],
        batch_size: int,
        drop_last: bool,
        generator: torch.Generator,
        valid_label_columns: list[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            range(len(lengths)), batch_size, drop_last, valid_label_columns, generator, seed
        )
        self.lengths = lengths

    def __iter__(self) -> Iterator[list[int]]:
        order = self._shuffle(len(self.lengths))
        pools = _cut(order, _POOL * self.batch_size)
        by_length = [sorted(pool, key=lambda text: -self.lengths[text]) for pool in pools]
        batches = [batch for pool in by_length for batch in _cut(pool, self.batch_size)]
        if self.drop_last and len(batches[-1]) < self.batch_size:
            batches.pop()
        for number in self._shuffle(len(batches)):
            yield batches[number]

    def _shuffle(self, count: int) -> list[int]:
        order: list[int] = torch.randperm(count, generator=self.generator).tolist()
        return order


def _cut(texts: list[int], size: int) -> list[list[int]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]
