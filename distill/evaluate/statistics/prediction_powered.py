"""An interval for the difference of two models from an LLM's scores of all pairs and a person's
verdicts on a few, which is right whatever the LLM: prediction-powered inference (Angelopoulos et
al. 2023, arXiv 2301.09633), with the weight of the LLM's scores tuned (PPI++, 2311.01453).

The metric is DCG@10 of relevance from 0 to 1: a relevant passage at the first place counts 1. It is
linear in the relevance, so that a difference is a sum over pairs of query and passage of weight
times relevance, and a pair that both models rank alike does not matter.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distill.errors import need
from distill.evaluate.statistics.rank_metrics import Values

DEPTH = 10
"""Ranks that count."""
LEAST_VERDICTS = 10
"""With fewer there is no interval."""
_PSEUDO_VERDICTS = 4
"""As many verdicts as if they had gone against what was seen, in the variance alone, as in the
"plus four" interval of a proportion (Agresti and Caffo 2000): where relevant passages are rare, a
few verdicts may all be "no", and their spread would be nothing."""


class PoweredDifference(NamedTuple):
    """A mean difference over queries in DCG@10, with its 95 % interval; `tuning` is the weight of
    the LLM's scores, from 0 (they say nothing) to 1."""

    difference: float
    low: float
    high: float
    tuning: float
    verdicts: int


def compute_discounts(ranking: Sequence[str], depth: int = DEPTH) -> dict[str, float]:
    """Compute each passage's discount in DCG, 1 / log2(1 + rank), to a depth; the others have 0."""
    return {id_: 1 / float(np.log2(rank + 2)) for rank, id_ in enumerate(ranking[:depth])}


def compute_weights(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, float]:
    """Compute what each passage's relevance adds to the DCG@10 of our ranking minus theirs."""
    own, other = compute_discounts(ours), compute_discounts(theirs)
    return {id_: own.get(id_, 0.0) - other.get(id_, 0.0) for id_ in own | other}


def estimate_difference(
    queries: int,
    query: np.ndarray,
    weights: Values,
    predicted: Values,
    verdicts: Values,
    inclusion: Values,
) -> PoweredDifference | None:
    """Estimate the mean over queries of the sum of weight x relevance; None below 10 verdicts.

    Each query's value is that by the LLM's scores, corrected by the verdicts on its pairs, each
    divided by its probability of having been judged (Horvitz-Thompson). Queries are drawn alike and
    their pairs independently, so that the spread of these values holds both parts of the variance.

    Args:
        queries: their number, with those that have no pair.
        query: (n,) number of each pair's query.
        weights: (n,) of the pairs' relevance.
        predicted: (n,) relevance by the LLM, from 0 to 1.
        verdicts: (n,) relevance by the person, 0 or 1; nan where not judged.
        inclusion: (n,) probability of having been judged.
    """
    judged = np.flatnonzero(~np.isnan(verdicts))
    if len(judged) < LEAST_VERDICTS or queries < 2:
        return None
    scale = weights[judged] / inclusion[judged]
    by_person = _sum_by_query(query[judged], scale * verdicts[judged], queries)
    by_llm = _sum_by_query(query, weights * predicted, queries)
    by_llm -= _sum_by_query(query[judged], scale * predicted[judged], queries)
    tuning = _tune(by_person, by_llm)
    values = by_person + tuning * by_llm
    pseudo = _PSEUDO_VERDICTS * float(np.mean(scale**2)) / queries**2
    error = np.sqrt(values.var(ddof=1) / queries + pseudo)
    freedom = min(len(judged), queries) - 1
    half = _compute_t_quantile(freedom) * float(error)
    centre = float(values.mean())
    return PoweredDifference(centre, centre - half, centre + half, tuning, len(judged))


@functools.cache
def _compute_t_quantile(freedom: int) -> float:
    return float(need("scipy.stats", "eval").t.ppf(0.975, freedom))


def _sum_by_query(query: np.ndarray, values: Values, queries: int) -> Values:
    return np.bincount(query, weights=values, minlength=queries).astype(np.float64)


def _tune(by_person: Values, by_llm: Values) -> float:
    """Return the weight of the LLM's part with the least variance (PPI++, section 4), from 0 to
    1."""
    spread = float(by_llm.var(ddof=1))
    if not spread:
        return 0.0
    shared = float(np.cov(by_person, by_llm, ddof=1)[0, 1])
    return float(np.clip(-shared / spread, 0.0, 1.0))
