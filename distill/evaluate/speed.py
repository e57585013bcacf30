"""Speed, measured so that models can be compared: the same texts, turn and turn about."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sentence_transformers import SentenceTransformer

SINGLE_TEXTS = 64


class Speed(NamedTuple):
    """`texts_per_second` of many documents together; `latency_ms` is the median time, in
    milliseconds, of a single text encoded as a query is."""

    texts_per_second: float
    latency_ms: float


def measure_speed(
    models: Mapping[str, SentenceTransformer],
    texts: Sequence[str],
    rounds: int = 3,
    batch_size: int = 32,
) -> dict[str, Speed]:
    """The speed of each model, tokenisation included; texts a second are the median over `rounds`.

    In each round every model encodes all the texts, one model after the other; then every model
    encodes the first `SINGLE_TEXTS` of them one at a time, one model after the other on each text.
    So what else the machine does meets them alike. One batch before that is not counted: the first
    pays for what later ones find ready.
    """
    texts = list(texts)
    singles = texts[:SINGLE_TEXTS]
    for model in models.values():
        _seconds(model.encode_document, texts[:batch_size], batch_size)
        _seconds(model.encode_query, texts[:1], 1)
    together: dict[str, list[float]] = {name: [] for name in models}
    alone: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            together[name].append(_seconds(model.encode_document, texts, batch_size))
    for text in singles:
        for name, model in models.items():
            alone[name].append(_seconds(model.encode_query, [text], 1))
    return {
        name: Speed(
            len(texts) / statistics.median(together[name]), 1000 * statistics.median(alone[name])
        )
        for name in models
    }


def _seconds(encode: Callable[..., Any], texts: list[str], batch_size: int) -> float:
    begun = time.perf_counter()
    # To numpy, hence the device has finished when this returns.
    encode(texts, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
    return time.perf_counter() - begun
