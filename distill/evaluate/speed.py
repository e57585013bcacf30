"""Speed, measured so that models can be compared: the models embed the same texts in turns."""

import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from distill.runtime.progress import Progress
from distill.text.format import Side

SINGLE_TEXTS = 64
_WARM_TEXTS = 32

EncodeFunction = Callable[[Sequence[str], Side], Any]
"""Texts of a side -> vectors in memory, hence a device has finished when it returns. The texts are
batched as in an evaluation, by a budget of tokens: a GPU waits for its orders where batches are
small."""


class Speed(NamedTuple):
    """The measured speed of a model. `texts_per_second` of many documents together, the median of
    its `rounds`, None where they were not timed; `latency_ms` is the median time, in
    milliseconds, of a single text encoded as a query is, and `latency_quartiles` the first and
    third quartile."""

    texts_per_second: float | None
    latency_ms: float
    rounds: Sequence[float] = ()
    latency_quartiles: Sequence[float] = ()


def measure_speed(
    models: Mapping[str, EncodeFunction],
    texts: Sequence[str],
    rounds: int = 3,
    queries_alone: Collection[str] = (),
) -> dict[str, Speed]:
    """Measure the speed of each model, tokenisation included; texts a second are the median over
    `rounds`.

    In each round every model encodes all the texts, one model after the other; then every model
    encodes the first `SINGLE_TEXTS` of them one at a time, one model after the other on each text.
    So what else the machine does meets them alike. A few texts before that are not counted: the
    first pay for what later ones find ready.

    Args:
        queries_alone: names of models whose documents another one embeds: they are timed on
            single texts alone.
    """
    texts = list(texts)
    singles = texts[:SINGLE_TEXTS]
    of_documents = {name: models[name] for name in models if name not in queries_alone}
    for name, encode in models.items():
        if name in of_documents:
            _time_encoding(encode, texts[:_WARM_TEXTS], "document")
        _time_encoding(encode, texts[:1], "query")
    together: dict[str, list[float]] = {name: [] for name in models}
    alone: dict[str, list[float]] = {name: [] for name in models}
    amount = len(of_documents) * rounds * len(texts) + len(models) * len(singles)
    with Progress("measuring speed", amount, "texts") as progress:
        for _ in range(rounds):
            for name, encode in of_documents.items():
                together[name].append(_time_encoding(encode, texts, "document"))
                progress.advance(len(texts))
        for text in singles:
            for name, encode in models.items():
                alone[name].append(_time_encoding(encode, [text], "query"))
                progress.advance()
    return {name: _summarize(len(texts), together[name], alone[name]) for name in models}


def _summarize(count: int, together: Sequence[float], alone: Sequence[float]) -> Speed:
    """Summarize the seconds of each round of `count` texts, and those of single texts."""
    few = len(alone) < 2
    first, middle, third = [*alone] * 3 if few else statistics.quantiles(alone, method="inclusive")
    return Speed(
        count / statistics.median(together) if together else None,
        1000 * middle,
        [count / seconds for seconds in together],
        [1000 * first, 1000 * third],
    )


def _time_encoding(encode: EncodeFunction, texts: Sequence[str], side: Side) -> float:
    begun = time.perf_counter()
    encode(texts, side)
    return time.perf_counter() - begun
