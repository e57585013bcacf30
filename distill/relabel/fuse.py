"""Reciprocal rank fusion: `R(q, p) = sum over rankers of w / (k + rank)`. Gecko (appendix A) uses
k = 0 and w = 1, where the first place counts most; Cormack et al. (2009) use k = 60."""

from collections.abc import Mapping, Sequence

from distill.recipe import JUDGES, Ranker, Recipe, Relabel
from distill.relabel.by_passage import CandidateLayout
from distill.store.run import Run, ShardResult, Stage
from distill.store.shards import shards
from distill.store.tables import CANDIDATES, JUDGEMENTS, LABELS, Row, read_shard

PairScores = dict[tuple[str, str], float]
"""Of (query id, passage id)."""
_WHOLE_QUERY_SUFFIXES = ("-listwise", "-bm25")
"""Ends of the names of stages whose shards follow the candidates', with whole queries in them."""


def make_labels(
    run: Run,
    recipe: Recipe,
    candidates: Stage,
    judgements: Mapping[str, tuple[Stage, Stage]],
) -> Stage:
    """Rank each query's candidates by every ranker and fuse the recipe's rankers.

    Args:
        judgements: for each pass its stage and the candidates that it judged (all, or a cascade's
            survivors).
    """
    rule = recipe.relabel
    settings = {
        "rankers": rule.rankers,
        "rrf_k": rule.rrf_k,
        "weights": rule.weights,
        "ql_per_token": rule.ql_per_token,
        "cascade": rule.cascade.by,
    }
    stage = run.stage("labels", settings, [candidates, *(of for of, _ in judgements.values())])
    if stage.complete:
        return stage
    readers = [
        ShardJudgements(of, CandidateLayout(judged, rule.block, rule.shard_size), rule)
        for of, judged in judgements.values()
    ]
    paths = shards(candidates.folder)

    def work(number: int) -> ShardResult:
        scores: dict[str, PairScores] = {}
        for reader in readers:
            scores |= reader.scores(number)
        rows: list[Row] = []
        for of_query in group_by_query(read_shard(CANDIDATES, paths[number])):
            rows += make_label_rows(of_query, scores, rule)
        return ShardResult(rows)

    stage.map_shards(LABELS, range(len(paths)), work)
    stage.finish()
    return stage


class ShardJudgements:
    """One pass's scores of the queries in a shard of candidates. The judgements of a block's pairs
    lie in neighbouring shards, which are read once for all the block's shards of candidates."""

    def __init__(self, judgements: Stage, layout: CandidateLayout, rule: Relabel) -> None:
        self._layout = layout
        self._per_token = rule.ql_per_token
        self._paths: dict[int, list[int]] = {}
        self._shards = shards(judgements.folder)
        of_lists = judgements.name.endswith(_WHOLE_QUERY_SUFFIXES)
        pieces = [] if of_lists else layout.pieces(rule.shard_size)
        for number in range(len(self._shards)):
            block = layout.block_of(number) if of_lists else pieces[number].block
            self._paths.setdefault(block, []).append(number)
        self._held: tuple[int, dict[str, PairScores]] | None = None

    def scores(self, shard: int) -> dict[str, PairScores]:
        """By ranker, of all pairs in the block of this shard of candidates."""
        block = self._layout.block_of(shard)
        if self._held is None or self._held[0] != block:
            self._held = (block, self._read(block))
        return self._held[1]

    def _read(self, block: int) -> dict[str, PairScores]:
        found: dict[str, PairScores] = {}
        for number in self._paths.get(block, []):
            for row in read_shard(JUDGEMENTS, self._shards[number]):
                divide = self._per_token and row["ranker"] == "ql"
                score = row["score"] / max(1, row["tokens"]) if divide else row["score"]
                found.setdefault(row["ranker"], {})[row["query_id"], row["passage_id"]] = score
        return found


def make_label_rows(
    candidates: Sequence[Row], scores: Mapping[str, PairScores], rule: Relabel
) -> list[Row]:
    """One query's label rows, in the candidates' order.

    A seed passage that retrieval missed ranks behind all that were retrieved. Equal scores rank in
    the retriever's order. What a cascade left unjudged ranks behind all that was judged, in the
    order of the first fusion, and has neither score nor rank of the later rankers; so does what a
    ranker could not judge.
    """
    pairs = [(row["query_id"], row["passage_id"]) for row in candidates]
    retrieved = sum(row["rank"] is not None for row in candidates)
    by_retriever = [row["rank"] or retrieved + 1 for row in candidates]
    judges = dict.fromkeys((*scores, *(ranker for ranker in rule.rankers if ranker in JUDGES)))
    values = {ranker: [scores.get(ranker, {}).get(pair) for pair in pairs] for ranker in judges}
    ranks = {ranker: _rank_scores(of, by_retriever) for ranker, of in values.items()}
    retriever = {"retriever": by_retriever}
    whole = retriever | {r: rank_missing_last(of, by_retriever) for r, of in ranks.items()}
    if rule.cascade.by:
        first = _rank_scores(fuse_ranks(whole, rule.cascade.by, rule), by_retriever)
        order = rank_missing_last(first, by_retriever)
        whole = retriever | {r: rank_missing_last(of, order) for r, of in ranks.items()}
    final = fuse_ranks(whole, rule.rankers, rule)
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
    """The fusion of these rankers, which have ranked all candidates."""
    parts = [
        [rule.weights.get(ranker, 1.0) / (rule.rrf_k + rank) for rank in ranks[ranker]]
        for ranker in rankers
    ]
    return [sum(of_candidate) for of_candidate in zip(*parts, strict=True)]


def group_by_query(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows grouped by query, in the order in which the queries come."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["query_id"], []).append(row)
    return list(groups.values())


def _rank_scores(values: Sequence[float | None], ties: Sequence[int]) -> list[int | None]:
    """1 for the highest value; None for what has none."""
    judged = [(-value, ties[i], i) for i, value in enumerate(values) if value is not None]
    ranks: list[int | None] = [None] * len(values)
    for rank, (_, _, i) in enumerate(sorted(judged), start=1):
        ranks[i] = rank
    return ranks


def rank_missing_last(ranks: Sequence[int | None], order: Sequence[int]) -> list[int]:
    """The ranks, and behind them those of what has none, in the order of other ranks."""
    ranked = [rank for rank in ranks if rank is not None]
    left = sorted(order[i] for i, rank in enumerate(ranks) if rank is None)
    behind = {place: rank for rank, place in enumerate(left, start=len(ranked) + 1)}
    return [behind[order[i]] if rank is None else rank for i, rank in enumerate(ranks)]
