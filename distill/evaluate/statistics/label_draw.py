"""Draw the pairs of query and passage that a person judges, with the probability of each: priority
sampling (Duffield, Lund and Thorup 2007, "Priority sampling for estimation of arbitrary subset
sums"). Any number of pairs from the beginning is a valid sample, so a person may stop at any
point."""

import hashlib
from collections.abc import Sequence

import numpy as np

from distill.evaluate.statistics.rank_metrics import Values

FLOOR = 0.1
"""What a pair is worth at least, as a share of the mean weight: pairs that do not matter to today's
two models may matter to later ones."""


def combine_weights(weights: Sequence[Values]) -> Values:
    """Combine the weights (n,) of pairs in several differences, so that each difference counts the
    same: |weight| in units of its mean, averaged over the differences. A draw by one difference
    alone sees too little of what decides another, whose interval is then too narrow."""
    sizes = [np.abs(of) / np.abs(of).mean() for of in weights if of.any()]
    combined: Values = np.mean(sizes, axis=0) if sizes else np.zeros(len(weights[0]))
    return combined


def compute_draw_sizes(weights: Values) -> Values:
    """Compute how likely each pair is drawn, relative to the others: by |weight|, (n,), plus a
    floor."""
    sizes = np.abs(weights)
    mean = sizes.mean() if len(sizes) else 0.0
    drawn: Values = sizes + FLOOR * mean if mean else np.ones(len(sizes))
    return drawn


def draw_uniform(seed: int, query_id: str, passage_id: str) -> float:
    """Draw a number in (0, 1) by seed and pair alone: the same whatever other pairs there are."""
    digest = hashlib.sha256(f"{seed}\n{query_id}\n{passage_id}".encode()).digest()
    return (int.from_bytes(digest[:7], "big") + 0.5) / 2**56


def compute_draw_keys(sizes: Values, uniform: Values) -> Values:
    """Compute the keys (n,) in whose ascending order pairs are shown."""
    keys: Values = uniform / sizes
    return keys


def compute_inclusion(
    sizes: Values, keys: Values, judged: Sequence[int], skipped: Sequence[int] = ()
) -> Values:
    """Compute the probability of each pair, (n,), of having been judged.

    By the first key behind the last pair that was seen, the probability min(1, size x key) makes
    weighted sums unbiased. Pairs that were seen and skipped are taken to be like the others.

    Args:
        judged: positions of the pairs with a verdict.
        skipped: positions of the pairs that were seen and left without one.
    """
    seen = len(judged) + len(skipped)
    if not judged:
        return np.zeros(len(sizes))
    ordered = np.sort(keys)
    bound = ordered[seen] if seen < len(ordered) else np.inf
    inclusion: Values = np.minimum(1.0, sizes * bound) * (len(judged) / seen)
    return inclusion
