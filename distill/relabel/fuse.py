"""Reciprocal rank fusion: `R(q, p) = sum over rankers of 1 / (k + rank)`. Gecko (appendix A) uses
k = 0, where the first place counts most; Cormack et al. (2009) use 60."""

from collections.abc import Sequence

from distill.recipe import Recipe
from distill.run import Run, Shard, Stage
from distill.tables import CANDIDATES, JUDGEMENTS, LABELS, Row, read_shard, shards


def make_labels(run: Run, recipe: Recipe, candidates: Stage, judgements: dict[str, Stage]) -> Stage:
    """Rank each query's candidates by every ranker and fuse the recipe's rankers."""
    settings = {"rankers": recipe.relabel.rankers, "rrf_k": recipe.relabel.rrf_k}
    stage = run.stage("labels", settings, [candidates, *judgements.values()])
    if stage.complete:
        return stage
    scores = {
        ranker: {(row["query_id"], row["passage_id"]): row["score"] for row in of.rows(JUDGEMENTS)}
        for ranker, of in judgements.items()
    }

    def work(path_rows: list[Row]) -> Shard:
        rows: list[Row] = []
        for of_query in by_query(path_rows):
            rows += fuse(of_query, scores, recipe.relabel.rankers, recipe.relabel.rrf_k)
        return Shard(rows)

    items = [read_shard(CANDIDATES, path) for path in shards(candidates.folder)]
    stage.map_shards(LABELS, items, work, size=len, unit="candidates")
    stage.finish()
    return stage


def fuse(
    candidates: Sequence[Row],
    scores: dict[str, dict[tuple[str, str], float]],
    rankers: Sequence[str],
    rrf_k: float,
) -> list[Row]:
    """One query's label rows, in the candidates' order.

    A seed passage that retrieval missed ranks behind all that were retrieved. Equal scores rank
    in the retriever's order.
    """
    retrieved = sum(row["rank"] is not None for row in candidates)
    ranks = {"retriever": [row["rank"] or retrieved + 1 for row in candidates]}
    values: dict[str, list[float]] = {}
    for ranker, of_pair in scores.items():
        values[ranker] = [of_pair[row["query_id"], row["passage_id"]] for row in candidates]
        ranks[ranker] = _ranks(values[ranker], ranks["retriever"])
    return [
        {
            "query_id": row["query_id"],
            "passage_id": row["passage_id"],
            "ql": values["ql"][i] if "ql" in values else None,
            "rc": values["rc"][i] if "rc" in values else None,
            "retriever_rank": ranks["retriever"][i],
            "ql_rank": ranks["ql"][i] if "ql" in ranks else None,
            "rc_rank": ranks["rc"][i] if "rc" in ranks else None,
            "rrf": sum(1.0 / (rrf_k + ranks[ranker][i]) for ranker in rankers),
            "teacher": None,
        }
        for i, row in enumerate(candidates)
    ]


def by_query(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows grouped by query, in the order in which the queries come."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["query_id"], []).append(row)
    return list(groups.values())


def _ranks(values: Sequence[float], ties: Sequence[int]) -> list[int]:
    """1 for the highest value."""
    order = sorted(range(len(values)), key=lambda i: (-values[i], ties[i]))
    ranks = [0] * len(values)
    for rank, i in enumerate(order, start=1):
        ranks[i] = rank
    return ranks
