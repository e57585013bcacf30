"""How far a difference of two systems could be from what is known, because they rank passages that
nobody judged: a pool is made once, and a system that was trained or named later finds others.

The relevance of such a passage lies between none and all, and that is all that is taken for
granted: the bounds hold whatever it is (partial identification, Manski 2003)."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from distill.evaluate.judged.collection import PairId
from distill.evaluate.judged.pool import SystemRankings
from distill.evaluate.statistics.prediction_powered import DEPTH, compute_weights
from distill.evaluate.summary import UnjudgedReach


def compute_dcg_reach(
    rankings: SystemRankings,
    judged: Collection[PairId],
    queries: Collection[str],
    pair: tuple[str, str],
) -> UnjudgedReach:
    """Compute by how much the mean over queries of DCG@10, of one system minus another's, could be
    lower or higher than where passages without judgment are irrelevant.

    Args:
        judged: pairs of query and passage.
        pair: the two systems.
    """
    weights = [
        weight
        for query in queries
        for passage, weight in _weigh_passages(rankings, query, pair).items()
        if (query, passage) not in judged
    ]
    below, above = _sum_by_sign(weights)
    return {"below": below / len(queries), "above": above / len(queries)}


def compute_ndcg_reach(
    rankings: SystemRankings,
    grades: Mapping[PairId, int],
    highest: int,
    queries: Collection[str],
    pair: tuple[str, str],
) -> UnjudgedReach:
    """Compute the same of nDCG@10, whose ideal grows with each passage that turns out relevant.

    Args:
        grades: by query and passage.
        highest: the grade that a passage without judgment has at most.
    """
    by_query: dict[str, dict[str, int]] = {query: {} for query in queries}
    for (query, passage), grade in grades.items():
        by_query[query][passage] = grade
    each = [
        _compute_query_reach(_weigh_passages(rankings, query, pair), of_query, highest)
        for query, of_query in by_query.items()
    ]
    below, above = np.mean(each, axis=0).tolist()
    return {"below": below, "above": above}


def _weigh_passages(
    rankings: SystemRankings, query: str, pair: tuple[str, str]
) -> dict[str, float]:
    one, other = pair
    return compute_weights(rankings[one].get(query, []), rankings[other].get(query, []))


def _sum_by_sign(weights: Sequence[float]) -> tuple[float, float]:
    """Sum what can lower a difference, as a positive number, and what can raise it."""
    return sum((-w for w in weights if w < 0), 0.0), sum((w for w in weights if w > 0), 0.0)


def _compute_query_reach(
    weights: Mapping[str, float], grades: Mapping[str, int], highest: int
) -> tuple[float, float]:
    """Compute by how much a query's difference could be lower and higher: the least and the
    greatest gain that is possible, each over the ideal that takes it furthest from zero."""
    unjudged = [weight for passage, weight in weights.items() if passage not in grades]
    gain = sum(weight * grades.get(passage, 0) for passage, weight in weights.items())
    below, above = _sum_by_sign(unjudged)
    least, greatest = gain - highest * below, gain + highest * above
    ideal = _compute_ideal(grades.values())
    largest = _compute_ideal([*grades.values(), *[highest] * len(unjudged)])
    known = _divide_gain(gain, ideal)
    return (
        known - _divide_gain(least, ideal if least < 0 else largest),
        _divide_gain(greatest, ideal if greatest > 0 else largest) - known,
    )


def _compute_ideal(grades: Iterable[int]) -> float:
    """Compute the DCG@10 of a ranking by falling grade."""
    return sum(
        grade / float(np.log2(rank + 2))
        for rank, grade in enumerate(sorted(grades, reverse=True)[:DEPTH])
    )


def _divide_gain(gain: float, ideal: float) -> float:
    """Divide by the ideal; no difference of nDCG is beyond -1 and 1."""
    return float(np.clip(gain / ideal if ideal else np.sign(gain), -1, 1))
