"""Count the steps of a training, and how many of them each source of data had."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from distill.recipe import Train
from distill.runtime import processes
from distill.train.data.mixture import Mixture

TEXTS = "texts to align"


def count_steps_by_source(
    mixture: Mixture, train: Train, curve: Sequence[dict[str, float]]
) -> dict[str, float]:
    """Count how many of the steps were of each source's rows. A step is of one dataset, and every
    dataset has as many in an epoch as it has batches; where batches are blended, a source counts by
    its share of the rows."""
    steps = curve[-1]["step"] if curve else 0
    batches = _count_batches(mixture, train)
    by_source: dict[str, float] = defaultdict(float)
    for name, rows in mixture.datasets.items():
        own = steps * batches[name] / max(1, sum(batches.values()))
        sources = Counter(_name_source(mixture, label[0]) for label in rows["label"])
        for source, count in sources.items():
            by_source[source] += own * count / len(rows)
    return {source: round(share, 1) for source, share in by_source.items()}


def limit_steps(mixture: Mixture, train: Train) -> int | None:
    """Return `train.max_steps` where its epochs would have more; None where they have not."""
    steps = math.ceil(train.epochs * sum(_count_batches(mixture, train).values()))
    most = train.max_steps
    return most if most is not None and steps > most else None


def _count_batches(mixture: Mixture, train: Train) -> dict[str, int]:
    """Count the batches of each dataset in an epoch."""
    return {
        name: min(
            math.ceil(len(rows) / _get_batch_size(name, train)),
            len(rows) // processes.count_processes(),
        )
        for name, rows in mixture.datasets.items()
    }


def _get_batch_size(name: str, train: Train) -> int:
    return train.align.batch_size if name == "texts" else train.batch_size


def _name_source(mixture: Mixture, number: int) -> str:
    return TEXTS if number < 0 else mixture.sources[number] or "examples"
