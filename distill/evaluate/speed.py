"""Texts a second, measured so that models can be compared: the same texts, turn and turn about."""

import statistics
import time
from collections.abc import Mapping, Sequence

from sentence_transformers import SentenceTransformer


def measure_speed(
    models: Mapping[str, SentenceTransformer],
    texts: Sequence[str],
    rounds: int = 3,
    batch_size: int = 32,
) -> dict[str, float]:
    """Texts a second of each model, tokenisation included; the median over `rounds`.

    In each round every model encodes all the texts, one model after the other, so that what else
    the machine does meets them alike. One batch before that is not counted: the first pays for
    what later ones find ready.
    """
    texts = list(texts)
    for model in models.values():
        _encode(model, texts[:batch_size], batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            begun = time.perf_counter()
            _encode(model, texts, batch_size)
            seconds[name].append(time.perf_counter() - begun)
    return {name: len(texts) / statistics.median(taken) for name, taken in seconds.items()}


def _encode(model: SentenceTransformer, texts: list[str], batch_size: int) -> None:
    # To numpy, hence the device has finished when this returns.
    model.encode_document(
        texts, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
    )
