"""The distinct texts of the examples, numbered, so that a teacher reads each text once a side
however often it occurs."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.store.tables import EXAMPLES, Row, read_shard
from distill.text.digests import digest_text, digest_texts

TextsOf = Callable[[Sequence[Row]], list[str]]

_SHARDS_AT_ONCE = 16
"""Number of shards whose new texts make one store of vectors: one shard alone would fill its
batches badly."""


def list_queries(examples: Sequence[Row]) -> list[str]:
    """Return the examples' queries."""
    return [row["query"] for row in examples]


def list_documents(examples: Sequence[Row]) -> list[str]:
    """Return the examples' positives and negatives."""
    return [text for row in examples for text in (row["positive"], *row["negatives"])]


class DistinctTexts:
    """The distinct texts of one side, numbered in the order in which they first occur.

    Of a text 24 bytes are kept: a hash of 64 bits, where the text first occurs, and its number. The
    texts themselves are read from the examples' shards again.
    """

    def __init__(self, paths: Sequence[Path], texts_of: TextsOf) -> None:
        self._paths = paths
        self._texts_of = texts_of
        digests = [digest_texts(texts) for texts in map(self._read, paths)]
        self._starts = [0, *accumulate(len(part) for part in digests)]
        self._sorted, self._first = np.unique(
            np.concatenate([*digests, np.empty(0, np.uint64)]), return_index=True
        )
        self._number = np.empty(len(self._first), np.int64)
        self._number[np.argsort(self._first)] = np.arange(len(self._first))

    def __len__(self) -> int:
        return len(self._sorted)

    def number_examples(self, examples: Sequence[Row]) -> NDArray[np.int64]:
        """Return the numbers of these examples' texts, in their order."""
        return self.find_numbers(self._texts_of(examples))

    def find_numbers(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the numbers of those texts that are known."""
        numbers: NDArray[np.int64] = self._number[
            np.searchsorted(self._sorted, digest_texts(texts))
        ]
        return numbers

    def iterate_parts(self) -> Iterator[list[str]]:
        """Yield all texts in order, those of a few shards at a time; a part may be empty."""
        first = np.sort(self._first)
        for start in range(0, len(self._paths), _SHARDS_AT_ONCE):
            part: list[str] = []
            for shard in range(start, min(start + _SHARDS_AT_ONCE, len(self._paths))):
                low, high = np.searchsorted(first, self._starts[shard : shard + 2])
                texts = self._read(self._paths[shard])
                part += [texts[place - self._starts[shard]] for place in first[low:high]]
            yield part

    def _read(self, path: Path) -> list[str]:
        return self._texts_of(read_shard(EXAMPLES, path))


def make_text_id(text: str) -> str:
    """Hash a text to 16 hex digits: its id among a teacher's vectors."""
    return digest_text(text).hex()
