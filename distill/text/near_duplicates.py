"""Find passages that read the same as another. A corpus holds the same text under several ids, cut
a little differently or with another heading; no copy of a positive may be a negative."""

from collections.abc import Iterable

from distill.text.normalize import split_folded_words

_RUN = 3

Shingles = frozenset[tuple[str, ...]]


class NearDuplicates:
    """A set of texts, and a test whether a text reads the same as one of them.

    Args:
        share: the least Jaccard similarity of two texts' word triples (Broder 1997); None: only
            equal texts read the same.
    """

    def __init__(self, texts: Iterable[str], share: float | None) -> None:
        self._texts = frozenset(texts)
        self._share = share
        self._shingles = (
            [make_word_shingles(text) for text in self._texts] if share is not None else []
        )

    def contains(self, text: str) -> bool:
        """Return whether a text is one of these, or shares enough of its shingles with one."""
        if text in self._texts:
            return True
        if self._share is None:
            return False
        own = make_word_shingles(text)
        return any(compute_jaccard(own, other) >= self._share for other in self._shingles)


def make_word_shingles(text: str) -> Shingles:
    """Make the shingles of a text: runs of three words, regardless of case and punctuation; of a
    shorter text its words. A letter of a script without spaces counts as a word."""
    words = split_folded_words(text)
    size = _RUN if len(words) >= _RUN else 1
    return frozenset(tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def compute_jaccard(one: Shingles, other: Shingles) -> float:
    """Compute the share of common members of two sets; 0 for two empty sets, which say nothing of
    each other."""
    return len(one & other) / max(1, len(one | other))
