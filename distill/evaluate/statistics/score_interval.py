"""How sure a model's score on a task is, by itself: a bootstrap over the task's items."""

import zlib

import numpy as np

from distill.evaluate.score import TaskScore
from distill.evaluate.statistics.resampling import average_resamples, resample_items


def estimate_score_interval(score: TaskScore, seed: int = 0) -> tuple[float, float] | None:
    """Estimate the 95 % interval of a score that is a mean over items (queries, texts), which are
    drawn within their split and language; widened where they are few, but never beyond 0 and 1.
    None where no values of single items are kept, or a part has fewer than two.

    It says how far the score may be from that on all queries of this kind. Two models are compared
    by their paired difference (`distill compare`), which is known much better."""
    parts: dict[str, list[float]] = {}
    for item in sorted(score.by_item):
        parts.setdefault("/".join(item.split("/", 2)[:2]), []).append(score.by_item[item])
    if not parts or any(len(values) < 2 for values in parts.values()):
        return None
    draws = []
    for name, values in parts.items():
        rng = np.random.default_rng([seed, zlib.crc32(f"{score.task}/{name}".encode())])
        draws.append(resample_items(np.array(values), rng))
    low, high = np.quantile(average_resamples(draws).bootstrap, [0.025, 0.975])
    return max(float(low), 0.0), min(float(high), 1.0)
