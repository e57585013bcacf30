"""Index runs of consecutive words of many texts as hashes: 8 bytes a run, whatever the words."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from distill.text.normalize import split_comparable_words
from distill.text.words import WORD_WEIGHT, weigh_word

Hashes = NDArray[np.uint64]
Amounts = NDArray[np.int64]

SHORTEST = 3
"""Words of the shortest text that counts whole: a name or two would be found everywhere."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class NgramIndex:
    """Every run of `length` words of some texts; a text of 3 words up to that counts whole. Letters
    of scripts without spaces count as parts of words. A run of two unlike texts is taken for the
    same with a probability of about (runs held) / 2**64.

    Args:
        parts: remember also all runs of a text that counts whole.
    """

    def __init__(self, texts: Iterable[str], length: int, parts: bool = False) -> None:
        self._length = length
        runs: defaultdict[int, list[Hashes]] = defaultdict(list)
        inner: defaultdict[int, list[Hashes]] = defaultdict(list)
        for text in texts:
            marks, ends = _hash_words(text)
            if _is_short(ends, length):
                runs[len(marks)].append(_hash_runs(marks, len(marks)))
                for size in range(1, len(marks)) if parts else ():
                    inner[size].append(_hash_runs(marks, size))
            for size, starts in _iterate_stretches(ends, length):
                runs[size].append(_hash_runs(marks, size)[starts])
        self._held = {size: np.unique(np.concatenate(hashes)) for size, hashes in runs.items()}
        self._inner = {size: np.unique(np.concatenate(hashes)) for size, hashes in inner.items()}

    def overlaps(self, text: str) -> bool:
        """Return whether a text shares a run of words, or is itself, short as it is, part of a text
        that counts whole (if `parts`)."""
        marks, ends = _hash_words(text)
        if any(
            _has_any(sorted_hashes, _hash_runs(marks, size))
            for size, sorted_hashes in self._held.items()
        ):
            return True
        inner = self._inner.get(len(marks))
        if inner is None or not _is_short(ends, self._length):
            return False
        return _has_any(inner, _hash_runs(marks, len(marks)))


def _is_short(ends: Amounts, length: int) -> bool:
    """Return whether a text of these words counts whole."""
    return SHORTEST * WORD_WEIGHT <= ends[-1] < length * WORD_WEIGHT


def _iterate_stretches(ends: Amounts, length: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield where the shortest runs that amount to `length` words begin, by the number of their
    words."""
    starts = np.arange(len(ends) - 1)
    sizes = np.searchsorted(ends, ends[:-1] + length * WORD_WEIGHT) - starts
    fits = starts + sizes < len(ends)
    for size in np.unique(sizes[fits]):
        yield int(size), starts[fits & (sizes == size)]


def _has_any(sorted_hashes: Hashes, hashes: Hashes) -> bool:
    """Return whether any of the hashes is in a sorted array."""
    at = np.minimum(np.searchsorted(sorted_hashes, hashes), len(sorted_hashes) - 1)
    return bool((sorted_hashes[at] == hashes).any())


def _hash_runs(marks: Hashes, size: int) -> Hashes:
    """Compute the polynomial hash, modulo 2**64, of each run of `size` words."""
    count = max(0, len(marks) - size + 1)
    total = np.zeros(count, np.uint64)
    for start in range(size):
        total = total * _FACTOR + marks[start : start + count]
    return total


def _hash_words(text: str) -> tuple[Hashes, Amounts]:
    """Hash each word, and sum up the quarters of words before each and after the last."""
    words = split_comparable_words(text)
    amounts = np.fromiter(map(weigh_word, words), np.int64, len(words))
    marks = np.array([_hash_word(word) for word in words], np.uint64)
    return marks, np.concatenate([np.zeros(1, np.int64), np.cumsum(amounts)])


@lru_cache(maxsize=65_536)
def _hash_word(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
