"""Variants trained with several seeds: their differences have an interval in every metric."""

import dataclasses
import random

import pytest

from distill.evaluate.score import TaskScore
from distill.evaluate.statistics.significance import compare_scores, compare_seeds

DRAW = random.Random(4)
GOLD = [DRAW.random() for _ in range(80)]


def retrieval(shift: float, seed: int = 0) -> TaskScore:
    draw = random.Random(seed)
    items = {f"test/default/q{n}": min(1.0, draw.random() * 0.5 + shift) for n in range(60)}
    return TaskScore("r", "Retrieval", "ndcg_at_10", sum(items.values()) / 60, items)


def sts(noise: float, seed: int) -> TaskScore:
    draw = random.Random(seed)
    pairs = {
        f"test/default/{n}": (gold, gold + draw.gauss(0, noise)) for n, gold in enumerate(GOLD)
    }
    return TaskScore("s", "STS", "cosine_spearman", 1 - noise, {}, pairs)


def width(found) -> float:
    return found["high"] - found["low"]


def test_interval_of_one_seed_is_that_of_its_items():
    ours, theirs = [retrieval(0.3, 1)], [retrieval(0.25, 2)]
    found, known = compare_seeds([ours], [theirs]), compare_scores(ours, theirs)["overall"]
    for key in ("difference", "low", "high", "p"):
        assert found[key] == pytest.approx(known[key], abs=1e-9), key


def test_seeds_that_differ_widen_the_interval():
    theirs = [[retrieval(0.2, 1)] for _ in range(3)]
    alike = compare_seeds([[retrieval(0.3, 1)] for _ in range(3)], theirs)
    unlike = compare_seeds([[retrieval(shift, 1)] for shift in (0.1, 0.3, 0.5)], theirs)
    assert alike["difference"] == pytest.approx(0.1, abs=0.01)
    assert unlike["difference"] == pytest.approx(0.1, abs=0.01)
    assert width(alike) < 0.02
    assert unlike["low"] < 0 < unlike["high"]


def test_interval_of_three_seeds_contains_the_true_difference():
    """Two arms that are the same, 60 queries, three seeds: the interval contains 0 in most of 100
    experiments, and few of them call the arms different."""
    draw = random.Random(5)

    def train(values: list[float]) -> list[list[TaskScore]]:
        """Three students, each better or worse than the arm's mean on every query."""
        return [[score_queries(values, draw.gauss(0, 0.008), draw)] for _ in range(3)]

    found = []
    for _ in range(100):
        values = [draw.random() for _ in range(60)]
        found.append(compare_seeds(train(values), train(values)))
    assert sum(of["low"] <= 0 <= of["high"] for of in found) >= 90
    assert sum(of["p"] < 0.05 for of in found) <= 10


def score_queries(values: list[float], shift: float, draw: random.Random) -> TaskScore:
    items = {f"test/default/q{n}": of + shift + draw.gauss(0, 0.03) for n, of in enumerate(values)}
    return TaskScore("r", "Retrieval", "ndcg_at_10", sum(items.values()) / len(items), items)


def test_same_scores_are_no_difference():
    scores = [[retrieval(shift, 1)] for shift in (0.1, 0.3, 0.5)]
    found = compare_seeds(scores, scores)
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)


def test_pairs_of_texts_keep_their_interval_over_seeds():
    ours, theirs = ([[sts(noise, s)] for s in (1, 2, 3)] for noise in (0.1, 0.6))
    found = compare_seeds(ours, theirs)
    assert found["low"] > 0
    assert found["p"] < 0.05


def test_single_base_is_beside_every_seed():
    found = compare_seeds([[retrieval(0.2, 1)]], [[retrieval(0.3, 1)] for _ in range(3)])
    assert found["difference"] == pytest.approx(-0.1, abs=0.01)


def test_seed_is_drawn_for_all_tasks_together():
    """Two tasks on which the same seeds did well are no surer than one of them."""

    def alike(shift):
        return [retrieval(shift, 1), dataclasses.replace(retrieval(shift, 1), task="other")]

    shifts, theirs = (0.1, 0.3, 0.5), [retrieval(0.2, 1)]
    one = compare_seeds([[retrieval(shift, 1)] for shift in shifts], [theirs])
    both = compare_seeds([alike(shift) for shift in shifts], [alike(0.2)])
    assert width(both) == pytest.approx(width(one), rel=0.05)
