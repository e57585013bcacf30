"""The V-measure of each sample that mteb clusters: ten a task, drawn with replacement from one set
of texts, the same for every model."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import mean
from typing import Any


def read_cluster_v_measures(
    task: Any, scores: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, float]:
    """Read, by split/subset/number, the mean over the levels of labels. A sample's size is mteb's
    own (16,384), the set's is not: the values are drawn out from their mean, or together, to the
    spread that samples of the set's size would have, which is what a bootstrap asks for."""
    v_measures: dict[str, float] = {}
    for split, subsets in scores.items():
        for of_subset in subsets:
            levels = of_subset.get("v_measures")
            if not isinstance(levels, Mapping) or len({*map(len, levels.values())}) != 1:
                continue
            subset = of_subset["hf_subset"]
            rows = task.dataset.get(subset, task.dataset)[split]
            wider = sqrt(task.max_documents_per_cluster / _count_embedded_texts(task, len(rows)))
            values = [mean(of_sample) for of_sample in zip(*levels.values(), strict=True)]
            middle = mean(values)
            for i, value in enumerate(values):
                v_measures[f"{split}/{subset}/{i}"] = middle + wider * (value - middle)
    return v_measures


def _count_embedded_texts(task: Any, rows: int) -> int:
    """Count the texts of a split that mteb embeds, and draws its samples from."""
    if task.max_document_to_embed is not None:
        return min(rows, task.max_document_to_embed)
    if task.max_fraction_of_documents_to_embed is not None:
        return max(1, int(rows * task.max_fraction_of_documents_to_embed))
    return rows
