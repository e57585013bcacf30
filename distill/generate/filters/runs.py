"""Runs of consecutive words of many texts, as hashes: 8 bytes a run, whatever the words."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from distill.generate.filters.words import words

Hashes = NDArray[np.uint64]

SHORTEST = 3
"""Words of the shortest text that counts whole: a name or two would be found everywhere."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class Runs:
    """Every run of `length` words of some texts; a text of 3 words up to that counts whole. A run
    of two unlike texts is taken for the same with a probability of about (runs held) / 2**64.
    """

    def __init__(self, texts: Iterable[str], length: int) -> None:
        parts: defaultdict[int, list[Hashes]] = defaultdict(list)
        for text in texts:
            marks = _marks(text)
            size = min(length, len(marks))
            if size >= SHORTEST:
                parts[size].append(_runs(marks, size))
        self._held = {size: np.unique(np.concatenate(found)) for size, found in parts.items()}

    def meet(self, text: str) -> bool:
        """Whether a text shares a run of words."""
        marks = _marks(text)
        return any(_holds(held, _runs(marks, size)) for size, held in self._held.items())


def _holds(held: Hashes, hashes: Hashes) -> bool:
    """`held` is sorted."""
    at = np.minimum(np.searchsorted(held, hashes), len(held) - 1)
    return bool((held[at] == hashes).any())


def _runs(marks: Hashes, size: int) -> Hashes:
    """The polynomial hash, modulo 2**64, of each run of so many words."""
    count = max(0, len(marks) - size + 1)
    total = np.zeros(count, np.uint64)
    for start in range(size):
        total = total * _FACTOR + marks[start : start + count]
    return total


def _marks(text: str) -> Hashes:
    return np.array([_mark(word) for word in words(text)], np.uint64)


@lru_cache(maxsize=65_536)
def _mark(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
