"""The uncertainty of one model's score on a task: a bootstrap over the task's items."""

import zlib
from collections.abc import Mapping

import numpy as np

from distill.evaluate.statistics.resampling import average_resamples, resample_items


def estimate_score_interval(
    task: str, by_item: Mapping[str, float], seed: int = 0
) -> tuple[float, float] | None:
    """Estimate the 95 % interval of a score that is a mean over items (queries, texts), which are
    drawn within their split and language; widened where they are few, but never beyond 0 and 1.
    None where no values of single items are kept, or a part has fewer than two.

    Args:
        task: its name, which the draws depend on.
        by_item: the scores of single items, by split/subset/id.
    """
    parts: dict[str, list[float]] = {}
    for item in sorted(by_item):
        parts.setdefault("/".join(item.split("/", 2)[:2]), []).append(by_item[item])
    if not parts or any(len(values) < 2 for values in parts.values()):
        return None
    draws = []
    for name, values in parts.items():
        rng = np.random.default_rng([seed, zlib.crc32(f"{task}/{name}".encode())])
        draws.append(resample_items(np.array(values), rng))
    low, high = np.quantile(average_resamples(draws).bootstrap, [0.025, 0.975])
    return max(float(low), 0.0), min(float(high), 1.0)
