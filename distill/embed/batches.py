"""Batches of texts of similar length, within a budget of tokens."""

from collections.abc import Iterator, Sequence


def by_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """The numbers of all texts, the longest first, in batches of at most so many tokens, padding
    included; a text that is longer by itself is a batch.

    Args:
        lengths: tokens of each text, at least one.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        size = max(1, tokens // lengths[order[start]])
        yield order[start : start + size]
        start += size
