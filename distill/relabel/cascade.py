"""The stage `candidates-survivors`: what a cheap first judgement leaves to the others."""

from collections.abc import Mapping

from distill.recipe import Recipe
from distill.relabel.by_passage import CandidateLayout
from distill.relabel.fuse import ShardJudgements, group_by_query, make_label_rows
from distill.store.run import Run, ShardResult, Stage
from distill.store.shards import shards
from distill.store.tables import CANDIDATES, QUERIES, Reader, read_shard


def make_survivors(
    run: Run,
    recipe: Recipe,
    queries: Stage,
    candidates: Stage,
    judgements: Mapping[str, Stage],
) -> Stage:
    """The first `relabel.cascade.keep` candidates of each query by the cascade's first rankers, and
    its seed passage, which must be judged by all to keep or lose its place; rows as they were."""
    rule = recipe.relabel
    settings = {
        "by": rule.cascade.by,
        "keep": rule.cascade.keep,
        "rrf_k": rule.rrf_k,
        "weights": {ranker: rule.weights.get(ranker, 1.0) for ranker in rule.cascade.by},
        "ql_per_token": rule.ql_per_token,
    }
    stage = run.stage("candidates-survivors", settings, [candidates, *judgements.values()])
    if stage.complete:
        return stage
    layout = CandidateLayout(candidates, rule.block, rule.shard_size)
    readers = [ShardJudgements(of, layout, rule) for of in judgements.values()]
    first = rule.model_copy(update={"rankers": rule.cascade.by})
    asked, paths = Reader(QUERIES, queries.folder), shards(candidates.folder)

    def work(number: int) -> ShardResult:
        start = number * rule.shard_size
        places = range(start, min(start + rule.shard_size, len(asked)))
        seeds = {asked[i]["query_id"]: asked[i]["seed_id"] for i in places}
        scores = {ranker: of for reader in readers for ranker, of in reader.scores(number).items()}
        shard = ShardResult([])
        rows = read_shard(CANDIDATES, paths[number])
        for of_query in group_by_query(rows):
            order = sorted(
                make_label_rows(of_query, scores, first),
                key=lambda row: (-row["rrf"], row["retriever_rank"]),
            )
            kept = {row["passage_id"] for row in order[: rule.cascade.keep]}
            kept.add(seeds[of_query[0]["query_id"]])
            shard.rows += [row for row in of_query if row["passage_id"] in kept]
        shard.counts["left to the first judgement"] = len(rows) - len(shard.rows)
        return shard

    stage.map_shards(CANDIDATES, range(len(paths)), work)
    stage.finish()
    return stage
