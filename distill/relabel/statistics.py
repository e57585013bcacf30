"""Statistics of relabelling for the manifest and the report, added up one shard at a time: how
often the positive changed, where each ranker puts the seed passage, how far rankers agree, how
their scores are distributed, and some changes for a person to read."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill.store.shards import list_shards
from distill.store.tables import LABELS, Row

BIN_COUNT = 10
MAX_CHANGES = 20
"""Number of changes of positive that are listed for reading."""
FUSION = "fusion"
"""Name of the fused order, used like that of a ranker."""
WITHOUT_SEED = "without a seed passage"
"""Count of queries that users asked: nobody knows which passage answers them."""

BinEdges = dict[str, list[float]]
"""Ranker -> limits of the bins of its scores' histogram."""


class RelabelledQuery(NamedTuple):
    """A query, its labels best first by fusion, and its example; None for a dropped query."""

    query: Row
    ordered: list[Row]
    example: Row | None


class RunningStatistics:
    """Collects statistics of a run of any size: sums, and up to `MAX_CHANGES` of its changes.

    Args:
        rankers: the rankers to compare.
        edges: of their histograms, see `compute_bin_edges`.
        changed: number of positives that changed in the whole run.
    """

    def __init__(self, rankers: Sequence[str], edges: BinEdges, changed: int) -> None:
        self.changes: list[dict[str, Any]] = []
        """Ids, query, task, the new positive's text, and both passages' rank by each ranker."""
        self._rankers = list(rankers)
        self._edges = edges
        self._means = _Means()
        self._seeds = {ranker: _Means() for ranker in [*rankers, FUSION]}
        self._histogram_counts: defaultdict[tuple[str, str], NDArray[np.int64]] = defaultdict(
            lambda: np.zeros(BIN_COUNT, np.int64)
        )
        self._tau: NDArray[np.float64] = np.zeros((len(rankers), len(rankers)))
        self._tau_counts: NDArray[np.int64] = np.zeros((len(rankers), len(rankers)), np.int64)
        self._listed = (
            {i * changed // MAX_CHANGES for i in range(MAX_CHANGES)} if changed else set()
        )
        self._changed = 0

    def add(self, judged: Sequence[RelabelledQuery]) -> None:
        """Add the queries of one shard."""
        for one in judged:
            self._add_first_and_last(one.ordered)
            self._add_seed(one)
            self._add_agreement(one.ordered)
            if one.example is not None:
                self._add_example(one)
        self._add_scores(judged)

    def summarize(self) -> dict[str, Any]:
        """Return shares and means as numbers; `seed_rank`, `kendall_tau` and `scores` by ranker."""
        return {
            **self._means,
            "seed_rank": {ranker: dict(means) for ranker, means in self._seeds.items() if means},
            "kendall_tau": self._average_agreement(),
            "scores": self._make_histograms(),
        }

    def _add_first_and_last(self, ordered: Sequence[Row]) -> None:
        """Add the score differences of the fusion's first and last candidate (p_1 and p_N). After a
        cascade the last one lacks the scores of some rankers."""
        first, last = ordered[0], ordered[-1]
        if not first["rrf"]:
            return
        for ranker in ["rrf", *(r for r in self._rankers if r != "retriever")]:
            if first[ranker] is not None and last[ranker] is not None:
                self._means.add(f"{ranker}_first_minus_last", first[ranker] - last[ranker])

    def _add_seed(self, one: RelabelledQuery) -> None:
        if not one.query["seed_id"]:
            return
        for ranker, rank in find_ranks(one, one.query["seed_id"], self._rankers).items():
            if rank is not None:
                self._seeds[ranker].add("share_first", rank == 1)
                self._seeds[ranker].add("share_within_3", rank <= 3)
                self._seeds[ranker].add("mean_reciprocal_rank", 1 / rank)

    def _add_agreement(self, ordered: Sequence[Row]) -> None:
        ranks = [[row[f"{ranker}_rank"] for row in ordered] for ranker in self._rankers]
        tau = compute_kendall_tau(np.array(ranks, np.float64))
        self._tau += np.nan_to_num(tau)
        self._tau_counts += ~np.isnan(tau)

    def _add_example(self, one: RelabelledQuery) -> None:
        assert one.example is not None
        if not one.query["seed_id"]:
            return
        self._means.add("share_relabelled", one.example["relabelled"])
        if not one.example["relabelled"]:
            return
        if self._changed in self._listed:
            self.changes.append(_make_change(one, one.example, self._rankers))
        self._changed += 1

    def _add_scores(self, judged: Sequence[RelabelledQuery]) -> None:
        values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for one in judged:
            positive = one.example["positive_id"] if one.example is not None else None
            for row in one.ordered:
                kind = "positive" if row["passage_id"] == positive else "others"
                for ranker in self._edges:
                    if (score := row[get_score_column(ranker)]) is not None:
                        values[ranker, kind].append(score)
        for (ranker, kind), scores in values.items():
            self._histogram_counts[ranker, kind] += np.histogram(scores, self._edges[ranker])[0]

    def _average_agreement(self) -> dict[str, dict[str, float]]:
        """Average Kendall's tau for each pair of rankers; pairs without common candidates are left
        out."""
        return {
            one: {
                other: round(float(self._tau[i, j] / self._tau_counts[i, j]), 4)
                for j, other in enumerate(self._rankers)
                if i != j and self._tau_counts[i, j]
            }
            for i, one in enumerate(self._rankers)
        }

    def _make_histograms(self) -> dict[str, dict[str, list[float]]]:
        return {
            ranker: {
                "edges": [round(edge, 4) for edge in edges],
                **{
                    kind: self._histogram_counts[ranker, kind].tolist()
                    for kind in ("positive", "others")
                },
            }
            for ranker, edges in self._edges.items()
        }


class _Means(Mapping[str, float]):
    """Running means by name."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()

    def add(self, name: str, value: float) -> None:
        self._sums[name] += value
        self._counts[name] += 1

    def __getitem__(self, name: str) -> float:
        return round(self._sums[name] / max(1, self._counts[name]), 4)

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)


def get_score_column(ranker: str) -> str:
    """Return the labels' column of a ranker's score: the retriever's is the similarity."""
    return "similarity" if ranker == "retriever" else ranker


def compute_bin_edges(labels: Path, rankers: Sequence[str]) -> BinEdges:
    """Compute ten bins from each ranker's lowest to its highest score; none for one without scores.
    One column of one shard of the labels is in memory at a time."""
    edges = {}
    for ranker in rankers:
        column = get_score_column(ranker)
        ends = [
            pc.min_max(
                pq.read_table(path, columns=[column], partitioning=None, schema=LABELS.schema)[0]
            ).as_py()
            for path in list_shards(labels)
        ]
        limits = [end for pair in ends for end in pair.values() if end is not None]
        if limits:
            edges[ranker] = np.histogram_bin_edges([min(limits), max(limits)], BIN_COUNT).tolist()
    return edges


def find_ranks(
    one: RelabelledQuery, passage_id: str, rankers: Sequence[str]
) -> dict[str, int | None]:
    """Find a candidate's rank by each ranker, None where it was not judged, and by the fusion, None
    where no ranker had ranked the query's candidates."""
    place = next(i for i, row in enumerate(one.ordered) if row["passage_id"] == passage_id)
    row = one.ordered[place]
    ranks = {ranker: row[f"{ranker}_rank"] for ranker in rankers}
    return {**ranks, FUSION: place + 1 if row["rrf"] else None}


def compute_kendall_tau(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute Kendall's tau of every two rankers, over the candidates that both have ranked:
    concordant minus discordant pairs, as a share of all. Ranks have no ties, so all variants of tau
    are equal; scipy's test of significance would take most of the time.

    Args:
        ranks: (rankers, candidates), NaN where a ranker has none.

    Returns:
        (rankers, rankers), NaN where fewer than two candidates are ranked by both.
    """
    signs = np.sign(ranks[:, :, None] - ranks[:, None, :]).reshape(len(ranks), -1)
    known = np.nan_to_num(signs)
    pairs = np.abs(known) @ np.abs(known).T
    with np.errstate(invalid="ignore"):
        return known @ known.T / pairs


def _make_change(one: RelabelledQuery, example: Row, rankers: Sequence[str]) -> dict[str, Any]:
    return {
        **{name: example[name] for name in ("query_id", "task", "query", "seed_id", "positive_id")},
        "positive": example["positive"],
        "seed_ranks": find_ranks(one, example["seed_id"], rankers),
        "positive_ranks": find_ranks(one, example["positive_id"], rankers),
    }
