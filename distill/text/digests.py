"""Hashes of 64 bits, by which equal texts are known without holding them in memory. (Among ten
million texts two share a hash with a chance of three in a million.)"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TextDigests = NDArray[np.uint64]


def digest_text(text: str) -> bytes:
    """Hash a text to 8 bytes."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def digest_texts(texts: Iterable[str]) -> TextDigests:
    """Hash each text to 64 bits."""
    return np.frombuffer(b"".join(map(digest_text, texts)), np.uint64)


class KnownTexts:
    """A set of texts of which only the hashes are held."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._digests = {digest_text(text) for text in texts}

    def add(self, text: str) -> None:
        """Add a text."""
        self._digests.add(digest_text(text))

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and digest_text(text) in self._digests

    def __len__(self) -> int:
        return len(self._digests)


class NumberedDigests(NamedTuple):
    """Texts by the numbers of the distinct ones, which are counted in the order in which they first
    occur.

    Args:
        numbers: of each text.
        firsts: the place at which each number first occurs.
        digests: the hash of each number.
    """

    numbers: NDArray[np.int64]
    firsts: NDArray[np.int64]
    digests: TextDigests


def number_digests(digests: TextDigests | bytearray) -> NumberedDigests:
    """Give equal hashes one number."""
    distinct, firsts, members = np.unique(
        np.frombuffer(digests, np.uint64), return_index=True, return_inverse=True
    )
    order = np.argsort(firsts)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.arange(len(order))
    return NumberedDigests(numbers[members], firsts[order], distinct[order])
