"""Which texts the choice of positives and negatives compares and writes down."""

from pathlib import Path

import pyarrow.parquet as pq

from distill.relabel.by_passage import texts_of


class CandidateTexts:
    """The texts of all candidates in a shard of candidates or labels. The corpus is read
    once for some shards on end, whose candidates' texts are in memory together.

    Args:
        labels: the shards.
        together: so many of them.
    """

    def __init__(self, passages: Path, labels: list[Path], together: int) -> None:
        self._passages = passages
        self._labels = labels
        self._together = together
        self._held: tuple[int, dict[str, str]] = (-1, {})

    def of_shard(self, number: int) -> dict[str, str]:
        """Texts by passage id; those of the neighbouring shards are among them."""
        start = number - number % self._together
        if self._held[0] != start:
            self._held = (-1, {})
            wanted: set[str] = set()
            for path in self._labels[start : start + self._together]:
                wanted.update(
                    pq.read_table(path, columns=["passage_id"], partitioning=None)[0].to_pylist()
                )
            self._held = (start, texts_of(self._passages, wanted))
        return self._held[1]
