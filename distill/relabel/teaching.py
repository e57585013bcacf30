"""The rounds of relabelling before the run's own: the one that teaches a judge, and the one that
checks rankers."""

import random

from distill.recipe import Cascade, DistilledJudge, Relabel
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import QUERIES, Reader

_SHARD = 4096


def make_teaching_rule(rule: Relabel, judge: DistilledJudge) -> Relabel:
    """Make the settings of the round that teaches the judge."""
    rankers = judge.list_teachers(rule)
    corrected = {"ql", "rc", "graded"} & set(rankers)
    return rule.model_copy(
        update={
            "rankers": rankers,
            "weights": dict(judge.weights),
            "top_k": judge.top_k,
            "cascade": Cascade(),
            "cross_encoder": None,
            "seed_margin": rule.seed_margin if corrected else None,
            "fused": rule.fused and {"ql", "rc"} <= set(rankers),
        }
    )


def make_check_rule(rule: Relabel) -> Relabel:
    """Make the settings of the round in which rankers are checked: each judges every candidate, and
    the known passage's scores are taken as they are, for no language model wrote the query."""
    settings = {
        "weights": {},
        "cascade": Cascade(),
        "top_k": min(rule.top_k, rule.check.top_k),
        "seed_margin": None,
    }
    return rule.model_copy(update=settings)


def select_queries(run: Run, queries: Stage, count: int, seed: int) -> Stage:
    """Draw `count` queries by seed, in their order; the stage itself where it has no more."""
    rows = Reader(QUERIES, queries.folder)
    if len(rows) <= count:
        return queries
    stage = run.open_stage("queries", fingerprint(count, seed), [queries])
    if not stage.complete:
        numbers = sorted(random.Random(f"{seed}|judge").sample(range(len(rows)), count))
        items = [numbers[i : i + _SHARD] for i in range(0, count, _SHARD)]
        stage.map_shards(QUERIES, items, lambda of: ShardResult([rows[i] for i in of]))
        stage.finish()
    return stage


def fingerprint(count: int, seed: int) -> dict[str, int]:
    """Collect the settings that change which queries teach the judge."""
    return {"count": count, "seed": seed}
