"""Make batches of texts of similar length within a budget of tokens, padding included."""

from collections.abc import Iterator, Sequence

from distill.runtime.devices import CPU_BATCH_TOKENS

GPU_BATCH_TOKENS = 65_536


def get_default_batch_tokens(device_type: str) -> int:
    """Return the default budget of tokens for a type of device, such as cpu or cuda."""
    return CPU_BATCH_TOKENS if device_type == "cpu" else GPU_BATCH_TOKENS


def batch_by_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield the numbers of all texts in batches of at most `tokens` tokens, the longest first. A
    text that exceeds the budget by itself is a batch of its own.

    Args:
        lengths: tokens of each text, at least one.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        size = max(1, tokens // lengths[order[start]])
        yield order[start : start + size]
        start += size
