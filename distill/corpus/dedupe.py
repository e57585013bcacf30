"""Exact duplicates, up to what a reader would not see."""

import hashlib

from distill.text.compare import folded


def normalised(text: str) -> str:
    """Without differences of case, width and composition, white space collapsed."""
    return " ".join(folded(text).split())


class SeenPassages:
    """Which passages came before, by a 16-byte hash of normalised title and text."""

    def __init__(self) -> None:
        self._hashes: set[bytes] = set()

    def is_new(self, title: str, text: str) -> bool:
        """True the first time, False for every passage that reads the same."""
        content = f"{normalised(title)}\n{normalised(text)}"
        mark = hashlib.blake2b(content.encode(), digest_size=16).digest()
        if mark in self._hashes:
            return False
        self._hashes.add(mark)
        return True
