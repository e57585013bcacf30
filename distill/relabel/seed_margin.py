"""Measures how far the language model prefers the passages that its queries were written from."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import NamedTuple

from distill.recipe import Judge
from distill.store.tables import Reader, Row

RANKERS_OF_LLM: tuple[Judge, ...] = ("ql", "rc", "graded")
"""Rankers whose score of a seed passage is the language model's own, on a scale with margins."""


class SeedMargin(NamedTuple):
    """The margin by which a ranker scores the seed passage above the best other candidate: the mean
    over `queries`, and the share of them in which the seed is first."""

    margin: float
    share_first: float
    queries: int


class SeedCorrection(NamedTuple):
    """The amounts that are subtracted from the scores of seed passages: by ranker, of ql for each
    token; and the table of queries, which names the seeds."""

    margins: Mapping[str, float]
    queries: Reader

    def read_seeds(self, numbers: Iterable[int]) -> dict[str, str]:
        """Read the seed passages of the queries with these numbers."""
        rows = (self.queries[number] for number in numbers)
        return {row["query_id"]: row["seed_id"] for row in rows}


class JudgedQuery(NamedTuple):
    """A query's candidates, its seed passage, and the scores of pairs of query and passage by
    ranker."""

    candidates: list[Row]
    seed_id: str
    scores: Mapping[str, Mapping[tuple[str, str], float]]


def measure_seed_margins(queries: Iterable[JudgedQuery]) -> dict[str, SeedMargin]:
    """Measure the seed's margin under each ranker that is the language model, over the queries
    whose seed passage and at least one other candidate it has judged."""
    margins: defaultdict[str, list[float]] = defaultdict(list)
    for query in queries:
        pairs = [(row["query_id"], row["passage_id"]) for row in query.candidates]
        seed = (pairs[0][0], query.seed_id)
        for ranker in RANKERS_OF_LLM:
            judged = query.scores.get(ranker, {})
            others = [judged[pair] for pair in pairs if pair in judged and pair != seed]
            if seed in judged and others:
                margins[ranker].append(judged[seed] - max(others))
    return {
        ranker: SeedMargin(
            round(fmean(of_ranker), 6),
            round(fmean(margin > 0 for margin in of_ranker), 4),
            len(of_ranker),
        )
        for ranker, of_ranker in margins.items()
    }
