"""The stage `labels`, by reciprocal rank fusion: `R(q, p) = sum over rankers of w / (k + rank)`.
Gecko (appendix A) uses k = 0 and w = 1, where the first place counts most; Cormack et al. (2009)
use k = 60."""

from collections.abc import Mapping, Sequence

from distill.recipe import JUDGES, Ranker, Relabel
from distill.relabel.by_passage import CandidateLayout
from distill.store.run import Run
from distill.store.shards import shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import CANDIDATES, JUDGEMENTS, LABELS, Row, read_shard

PairScores = dict[tuple[str, str], float]
"""(query id, passage id) -> score."""
_WHOLE_QUERY_SUFFIXES = ("-listwise", "-bm25")
"""Suffixes of stages with one shard for each shard of candidates, of whole queries."""


def make_labels(
    run: Run,
    rule: Relabel,
    candidates: Stage,
    judgements: Mapping[str, tuple[Stage, Stage]],
) -> Stage:
    """Rank each query's candidates by every ranker and fuse the recipe's rankers.

    Args:
        judgements: for each pass its stage and the candidates that it judged (all, or a cascade's
            survivors).
    """
    inputs = [candidates, *(judged for judged, _ in judgements.values())]
    stage = run.stage("labels", fingerprint(rule), inputs)
    if stage.complete:
        return stage
    readers = [
        ShardJudgements(judged, CandidateLayout(pairs, rule.block, rule.shard_size), rule)
        for judged, pairs in judgements.values()
    ]
    paths = shards(candidates.folder)

    def work(number: int) -> ShardResult:
        scores: dict[str, PairScores] = {}
        for reader in readers:
            scores |= reader.scores(number)
        rows: list[Row] = []
        for query_candidates in group_by_query(read_shard(CANDIDATES, paths[number])):
            rows += make_label_rows(query_candidates, scores, rule)
        return ShardResult(rows)

    stage.map_shards(LABELS, range(len(paths)), work)
    stage.finish()
    return stage


def fingerprint(rule: Relabel) -> dict[str, object]:
    """Collect the settings that change the fused ranks."""
    return {
        "rankers": rule.rankers,
        "rrf_k": rule.rrf_k,
        "weights": rule.weights,
        "ql_per_token": rule.ql_per_token,
        "cascade": rule.cascade.by,
    }


class ShardJudgements:
    """Reads one pass's scores of the queries in a shard of candidates. The judgements of a block's
    pairs are in neighbouring shards, which are read once for all the block's shards of
    candidates."""

    def __init__(self, judgements: Stage, layout: CandidateLayout, rule: Relabel) -> None:
        self._layout = layout
        self._per_token = rule.ql_per_token
        self._paths: dict[int, list[int]] = {}
        self._shards = shards(judgements.folder)
        has_whole_queries = judgements.name.endswith(_WHOLE_QUERY_SUFFIXES)
        pieces = [] if has_whole_queries else layout.pieces(rule.shard_size)
        for number in range(len(self._shards)):
            block = layout.block_of(number) if has_whole_queries else pieces[number].block
            self._paths.setdefault(block, []).append(number)
        self._cached: tuple[int, dict[str, PairScores]] | None = None

    def scores(self, shard: int) -> dict[str, PairScores]:
        """Read the scores by ranker of all pairs in the block of this shard of candidates."""
        block = self._layout.block_of(shard)
        if self._cached is None or self._cached[0] != block:
            self._cached = (block, self._read(block))
        return self._cached[1]

    def _read(self, block: int) -> dict[str, PairScores]:
        scores: dict[str, PairScores] = {}
        for number in self._paths.get(block, []):
            for row in read_shard(JUDGEMENTS, self._shards[number]):
                divide = self._per_token and row["ranker"] == "ql"
                score = row["score"] / max(1, row["tokens"]) if divide else row["score"]
                scores.setdefault(row["ranker"], {})[row["query_id"], row["passage_id"]] = score
        return scores


def make_label_rows(
    candidates: Sequence[Row], scores: Mapping[str, PairScores], rule: Relabel
) -> list[Row]:
    """Make one query's label rows, in the candidates' order.

    A seed passage that retrieval missed ranks behind all retrieved ones. Equal scores rank in the
    retriever's order. A candidate that a cascade left unjudged ranks behind all judged ones, in the
    order of the first fusion, and has neither score nor rank of the later rankers; the same holds
    for one that a ranker could not judge.
    """
    pairs = [(row["query_id"], row["passage_id"]) for row in candidates]
    retrieved = sum(row["rank"] is not None for row in candidates)
    by_retriever = [row["rank"] or retrieved + 1 for row in candidates]
    judges = dict.fromkeys((*scores, *(ranker for ranker in rule.rankers if ranker in JUDGES)))
    values = {ranker: [scores.get(ranker, {}).get(pair) for pair in pairs] for ranker in judges}
    ranks = {judge: _rank_scores(scored, by_retriever) for judge, scored in values.items()}
    retriever = {"retriever": by_retriever}
    complete = retriever | {
        judge: rank_missing_last(ranked, by_retriever) for judge, ranked in ranks.items()
    }
    if rule.cascade.by:
        first = _rank_scores(fuse_ranks(complete, rule.cascade.by, rule), by_retriever)
        order = rank_missing_last(first, by_retriever)
        complete = retriever | {
            judge: rank_missing_last(ranked, order) for judge, ranked in ranks.items()
        }
    final = fuse_ranks(complete, rule.rankers, rule)
    return [
        {
            "query_id": row["query_id"],
            "passage_id": row["passage_id"],
            "similarity": row["similarity"],
            **{judge: values[judge][i] if judge in values else None for judge in JUDGES},
            "retriever_rank": by_retriever[i],
            **{f"{judge}_rank": ranks[judge][i] if judge in ranks else None for judge in JUDGES},
            "rrf": final[i],
        }
        for i, row in enumerate(candidates)
    ]


def fuse_ranks(
    ranks: Mapping[str, Sequence[int]], rankers: Sequence[Ranker], rule: Relabel
) -> list[float]:
    """Fuse the ranks of these rankers, which have ranked all candidates."""
    parts = [
        [rule.weights.get(ranker, 1.0) / (rule.rrf_k + rank) for rank in ranks[ranker]]
        for ranker in rankers
    ]
    return [sum(shares) for shares in zip(*parts, strict=True)]


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
    """Complete ranks: candidates without one come last, in the order of other ranks."""
    ranked = [rank for rank in ranks if rank is not None]
    missing = sorted(order[i] for i, rank in enumerate(ranks) if rank is None)
    last = {place: rank for rank, place in enumerate(missing, start=len(ranked) + 1)}
    return [last[order[i]] if rank is None else rank for i, rank in enumerate(ranks)]
