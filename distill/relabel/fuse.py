"""The stage `labels`, by reciprocal rank fusion: `R(q, p) = sum over rankers of w / (k + rank)`.
Gecko (appendix A) uses k = 0 and w = 1, where the first place counts most; Cormack et al. (2009)
use k = 60."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from distill.recipe import JUDGES, Ranker, Relabel
from distill.relabel.by_passage import CandidateLayout, count_shards_a_block, read_shard_queries
from distill.relabel.seed_margin import (
    JudgedQuery,
    SeedCorrection,
    SeedMargin,
    measure_seed_margins,
)
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import (
    CANDIDATES,
    JUDGEMENTS,
    LABELS,
    QUERIES,
    Reader,
    Row,
    read_shard,
)
from distill.workers.protocol import OpenWork, WorkerNeeds

_log = logging.getLogger(__name__)
WITHOUT_VERDICT = "queries without a verdict of "
"""Beginning of the count of queries of which a ranker, which is named then, judged nothing."""
PairScores = dict[tuple[str, str], float]
"""(query id, passage id) -> score."""
_WHOLE_QUERY_SUFFIXES = ("-listwise", "-bm25")
"""Suffixes of stages with one shard for each shard of candidates, of whole queries."""


def make_labels(
    run: Run,
    rule: Relabel,
    queries: Stage,
    candidates: Stage,
    judgements: Mapping[str, tuple[Stage, Stage]],
) -> Stage:
    """Rank each query's candidates by every ranker and fuse the recipe's rankers.

    Args:
        queries: the stage of the candidates' queries, which names their seed passages.
        judgements: for each pass its stage and the candidates that it judged (all, or a cascade's
            survivors).
    """
    inputs = [candidates, *(judged for judged, _ in judgements.values())]
    stage = run.open_stage("labels", fingerprint(rule), inputs)
    if stage.complete:
        return stage
    margins: dict[str, SeedMargin] = {}
    above: dict[str, float] | None = None
    if rule.seed_margin is not None:
        query_rows = Reader(QUERIES, queries.folder)
        margins = measure_seed_margins(_read_judged(rule, query_rows, candidates, judgements))
        _log_margins(margins)
        above = {ranker: max(0.0, of.margin) for ranker, of in margins.items()}
    stage.map_on_workers(
        LABELS,
        range(len(list_shards(candidates.folder))),
        partial(_open_fusion, rule, queries, candidates, judgements, above),
        WorkerNeeds(),
        group=lambda number: number // count_shards_a_block(rule),
        key="relabel.shard_size",
    )
    measured = {ranker: margin._asdict() for ranker, margin in margins.items()}
    figures: dict[str, Any] = {"seed_margin": measured} if measured else {}
    stage.finish(**figures)
    return stage


@contextmanager
def _open_fusion(
    rule: Relabel,
    queries: Stage,
    candidates: Stage,
    judgements: Mapping[str, tuple[Stage, Stage]],
    above: Mapping[str, float] | None,
) -> Iterator[OpenWork[int, ShardResult]]:
    correction = None if above is None else SeedCorrection(above, Reader(QUERIES, queries.folder))
    readers = _open_judgements(rule, judgements, correction)
    paths = list_shards(candidates.folder)

    def fuse(number: int) -> ShardResult:
        scores = _read_scores(readers, number)
        shard = ShardResult([])
        for query_candidates in group_by_query(read_shard(CANDIDATES, paths[number])):
            rows = make_label_rows(query_candidates, scores, rule)
            silent = [judge for judge in rule.judges if all(row[judge] is None for row in rows)]
            shard.counts.update(f"{WITHOUT_VERDICT}{judge}" for judge in silent)
            shard.rows += rows
        return shard

    yield OpenWork(lambda numbers: [*map(fuse, numbers)])


def _open_judgements(
    rule: Relabel,
    judgements: Mapping[str, tuple[Stage, Stage]],
    correction: SeedCorrection | None = None,
) -> "list[ShardJudgements]":
    return [
        ShardJudgements(
            judged, CandidateLayout(pairs, rule.block, rule.shard_size), rule, correction
        )
        for judged, pairs in judgements.values()
    ]


def _read_scores(readers: "Sequence[ShardJudgements]", shard: int) -> dict[str, PairScores]:
    scores: dict[str, PairScores] = {}
    for reader in readers:
        scores |= reader.read_scores(shard)
    return scores


def _read_judged(
    rule: Relabel,
    query_rows: Reader,
    candidates: Stage,
    judgements: Mapping[str, tuple[Stage, Stage]],
) -> Iterator[JudgedQuery]:
    """Yield all queries with their scores, those of ql by token."""
    readers = _open_judgements(rule.model_copy(update={"ql_per_token": True}), judgements)
    for number, path in enumerate(list_shards(candidates.folder)):
        scores = _read_scores(readers, number)
        of_shard = read_shard_queries(query_rows, number, rule.shard_size)
        seeds = {row["query_id"]: row["seed_id"] for row in of_shard}
        for rows in group_by_query(read_shard(CANDIDATES, path)):
            yield JudgedQuery(rows, seeds[rows[0]["query_id"]], scores)


def _log_margins(margins: Mapping[str, SeedMargin]) -> None:
    for ranker, of in margins.items():
        _log.info(
            "labels: %s scores the seed passage %.3f above the best other candidate on average; it "
            "is first in %.1f %% of %d queries before that is taken off",
            ranker,
            of.margin,
            100 * of.share_first,
            of.queries,
        )


def fingerprint(rule: Relabel) -> dict[str, object]:
    """Collect the settings that change the fused ranks."""
    settings: dict[str, object] = {
        "rankers": rule.rankers,
        "rrf_k": rule.rrf_k,
        "weights": rule.weights,
        "ql_per_token": rule.ql_per_token,
        "cascade": rule.cascade.by,
    }
    if rule.seed_margin is not None:
        settings["seed_margin"] = rule.seed_margin
    return settings


class ShardJudgements:
    """Reads one pass's scores of the queries in a shard of candidates. The judgements of a block's
    pairs are in neighbouring shards, which are read once for all the block's shards of
    candidates.

    Args:
        correction: what is taken off the scores of seed passages; None: nothing.
    """

    def __init__(
        self,
        judgements: Stage,
        layout: CandidateLayout,
        rule: Relabel,
        correction: SeedCorrection | None = None,
    ) -> None:
        self._layout = layout
        self._per_token = rule.ql_per_token
        self._correction = correction
        self._paths: dict[int, list[int]] = {}
        self._shards = list_shards(judgements.folder)
        has_whole_queries = judgements.name.endswith(_WHOLE_QUERY_SUFFIXES)
        pieces = [] if has_whole_queries else layout.list_pieces(rule.shard_size)
        for number in range(len(self._shards)):
            block = layout.find_block(number) if has_whole_queries else pieces[number].block
            self._paths.setdefault(block, []).append(number)
        self._cached: tuple[int, dict[str, PairScores]] | None = None

    def read_scores(self, shard: int) -> dict[str, PairScores]:
        """Read the scores by ranker of all pairs in the block of this shard of candidates."""
        block = self._layout.find_block(shard)
        if self._cached is None or self._cached[0] != block:
            self._cached = (block, self._read(block))
        return self._cached[1]

    def _read(self, block: int) -> dict[str, PairScores]:
        scores: dict[str, PairScores] = {}
        margins, seeds = self._read_correction(block)
        for number in self._paths.get(block, []):
            for row in read_shard(JUDGEMENTS, self._shards[number]):
                ranker, pair = row["ranker"], (row["query_id"], row["passage_id"])
                tokens = max(1, row["tokens"]) if ranker == "ql" else 1
                score = row["score"]
                if pair[1] == seeds.get(pair[0]):
                    score -= margins.get(ranker, 0.0) * tokens
                scores.setdefault(ranker, {})[pair] = score / tokens if self._per_token else score
        return scores

    def _read_correction(self, block: int) -> tuple[Mapping[str, float], Mapping[str, str]]:
        """Read what is taken off by ranker, and the seed passages of the block's queries."""
        if self._correction is None:
            return {}, {}
        numbers = self._layout.number_queries(block, len(self._correction.queries))
        return self._correction.margins, self._correction.read_seeds(numbers)


def make_label_rows(
    candidates: Sequence[Row], scores: Mapping[str, PairScores], rule: Relabel
) -> list[Row]:
    """Make one query's label rows, in the candidates' order.

    A seed passage that retrieval missed ranks behind all retrieved ones. Equal scores rank in the
    retriever's order. A candidate that a cascade left unjudged ranks behind all judged ones, in the
    order of the first fusion, and has neither score nor rank of the later rankers; the same holds
    for one that a ranker could not judge. A ranker that judged none of them has no part in the
    query's fusion; where none is left that weighs anything, all fused scores are 0 (see
    `are_ranked`).
    """
    pairs = [(row["query_id"], row["passage_id"]) for row in candidates]
    retrieved = sum(row["rank"] is not None for row in candidates)
    by_retriever = [row["rank"] or retrieved + 1 for row in candidates]
    judges = dict.fromkeys((*scores, *(ranker for ranker in rule.rankers if ranker in JUDGES)))
    values = {ranker: [scores.get(ranker, {}).get(pair) for pair in pairs] for ranker in judges}
    ranks = {judge: _rank_scores(scored, by_retriever) for judge, scored in values.items()}
    judged = {judge: ranked for judge, ranked in ranks.items() if any(ranked)}
    retriever = {"retriever": by_retriever}
    complete = retriever | {
        judge: rank_missing_last(ranked, by_retriever) for judge, ranked in judged.items()
    }
    if rule.cascade.by:
        first = _rank_scores(fuse_ranks(complete, rule.cascade.by, rule), by_retriever)
        order = rank_missing_last(first, by_retriever)
        complete = retriever | {
            judge: rank_missing_last(ranked, order) for judge, ranked in judged.items()
        }
    final = fuse_ranks(complete, rule.rankers, rule)
    none: list[None] = [None] * len(candidates)
    columns: dict[str, Sequence[Any]] = {
        "query_id": [row["query_id"] for row in candidates],
        "passage_id": [row["passage_id"] for row in candidates],
        "similarity": [row["similarity"] for row in candidates],
        **{judge: values.get(judge, none) for judge in JUDGES},
        "retriever_rank": by_retriever,
        **{f"{judge}_rank": ranks.get(judge, none) for judge in JUDGES},
        "rrf": final,
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def fuse_ranks(
    ranks: Mapping[str, Sequence[int]], rankers: Sequence[Ranker], rule: Relabel
) -> list[float]:
    """Fuse the ranks of these rankers, each of which has ranked all candidates or, where it is not
    among the ranks, none; the retriever's are always there."""
    weights = [(rule.get_weight(ranker), ranks[ranker]) for ranker in rankers if ranker in ranks]
    parts = [[weight / (rule.rrf_k + rank) for rank in of] for weight, of in weights]
    return [sum((part[i] for part in parts), 0.0) for i in range(len(ranks["retriever"]))]


def are_ranked(labels: Sequence[Row]) -> bool:
    """Return whether any ranker that weighs something has ranked a query's candidates: fused scores
    are above 0 then."""
    return any(row["rrf"] for row in labels)


def group_by_query(rows: Sequence[Row]) -> list[list[Row]]:
    """Group rows by query, in the order in which the queries come."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["query_id"], []).append(row)
    return list(groups.values())


def _rank_scores(values: Sequence[float | None], ties: Sequence[int]) -> list[int | None]:
    """Rank values, 1 for the highest; None for a candidate without a value."""
    judged = [(-value, ties[i], i) for i, value in enumerate(values) if value is not None]
    ranks: list[int | None] = [None] * len(values)
    for rank, (_, _, i) in enumerate(sorted(judged), start=1):
        ranks[i] = rank
    return ranks


def rank_missing_last(ranks: Sequence[int | None], order: Sequence[int]) -> list[int]:
    """Complete the ranks: candidates without one come last, in the order of other ranks."""
    ranked = [rank for rank in ranks if rank is not None]
    missing = sorted(order[i] for i, rank in enumerate(ranks) if rank is None)
    last = {place: rank for rank, place in enumerate(missing, start=len(ranked) + 1)}
    return [last[order[i]] if rank is None else rank for i, rank in enumerate(ranks)]
