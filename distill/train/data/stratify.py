"""Cuts a list of candidates so that what is left covers the range of its soft scores."""

import math
from collections.abc import Collection, Mapping

import numpy as np


def select_stratified(
    scores: Mapping[str, float], chosen: Collection[str], count: int
) -> list[str]:
    """Select candidates one by one, each time the one whose score is farthest from the nearest of
    those that are there already (Gonzalez 1985), so that the whole range of scores is covered, as
    arXiv 2604.04734 finds best for distillation. The same whatever the scores' scale and offset;
    the first one by order of equals.

    Args:
        scores: by passage; one without a score (NaN) is not selected.
        chosen: passages that are in the list anyway, and are not selected again.
        count: most to select.

    Returns:
        Passages in the order of `scores`.
    """
    others = [id_ for id_, score in scores.items() if id_ not in chosen and not math.isnan(score)]
    if len(others) <= count:
        return others
    values = np.array([scores[id_] for id_ in others])
    known = np.array([scores[id_] for id_ in chosen if not math.isnan(scores.get(id_, math.nan))])
    selected: list[int] = []
    distances = np.abs(values[:, None] - known).min(1, initial=np.inf)
    for _ in range(count):
        farthest = int((values if np.isinf(distances).all() else distances).argmax())
        selected.append(farthest)
        distances = np.minimum(distances, np.abs(values - values[farthest]))
        distances[selected] = -1.0  # equals of it stay at 0
    return [others[place] for place in sorted(selected)]
