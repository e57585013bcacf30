"""The stage `candidates-survivors`: the candidates that a cascade's cheap first rankers pass on to
the others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from distill.recipe import Relabel
from distill.relabel.by_passage import CandidateLayout, count_shards_a_block, read_shard_queries
from distill.relabel.fuse import PairScores, ShardJudgements, group_by_query, make_label_rows
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import CANDIDATES, QUERIES, Reader, read_shard
from distill.workers.protocol import OpenWork, WorkerNeeds


def make_survivors(
    run: Run,
    rule: Relabel,
    queries: Stage,
    candidates: Stage,
    judgements: Mapping[str, Stage],
) -> Stage:
    """Select the first `relabel.cascade.keep` candidates of each query by the cascade's first
    rankers, and its seed passage, if it has one, which all rankers must judge as it may remain the
    positive. Rows are unchanged."""
    inputs = [candidates, *judgements.values()]
    stage = run.open_stage("candidates-survivors", fingerprint(rule), inputs)
    if stage.complete:
        return stage
    stage.map_on_workers(
        CANDIDATES,
        range(len(list_shards(candidates.folder))),
        partial(_open_selection, rule, queries, candidates, list(judgements.values())),
        WorkerNeeds(),
        group=lambda number: number // count_shards_a_block(rule),
        key="relabel.shard_size",
    )
    stage.finish()
    return stage


@contextmanager
def _open_selection(
    rule: Relabel, queries: Stage, candidates: Stage, judgements: Sequence[Stage]
) -> Iterator[OpenWork[int, ShardResult]]:
    layout = CandidateLayout(candidates, rule.block, rule.shard_size)
    readers = [ShardJudgements(judged, layout, rule) for judged in judgements]
    first = rule.model_copy(update={"rankers": rule.cascade.by})
    query_rows, paths = Reader(QUERIES, queries.folder), list_shards(candidates.folder)

    def select(number: int) -> ShardResult:
        shard_queries = read_shard_queries(query_rows, number, rule.shard_size)
        seeds = {row["query_id"]: row["seed_id"] for row in shard_queries}
        scores: dict[str, PairScores] = {}
        for reader in readers:
            scores |= reader.read_scores(number)
        shard = ShardResult([])
        rows = read_shard(CANDIDATES, paths[number])
        for candidate_rows in group_by_query(rows):
            order = sorted(
                make_label_rows(candidate_rows, scores, first),
                key=lambda row: (-row["rrf"], row["retriever_rank"]),
            )
            selected = {row["passage_id"] for row in order[: rule.cascade.keep]}
            selected.add(seeds[candidate_rows[0]["query_id"]])
            shard.rows += [row for row in candidate_rows if row["passage_id"] in selected]
        shard.counts["left to the first judgement"] = len(rows) - len(shard.rows)
        return shard

    yield OpenWork(lambda numbers: [*map(select, numbers)])


def fingerprint(rule: Relabel) -> dict[str, object]:
    """Collect the settings that change who survives."""
    return {
        "by": rule.cascade.by,
        "keep": rule.cascade.keep,
        "rrf_k": rule.rrf_k,
        "weights": {ranker: rule.get_weight(ranker) for ranker in rule.cascade.by},
        "ql_per_token": rule.ql_per_token,
    }
