"""From labels to training examples: the positive and the hard negatives (Gecko, section 3.2).

The seed passage may lose its place as positive to a better one, but it never becomes a negative:
the query was written for it. Fewer negatives than asked stay fewer, and are counted.
"""

import random
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from distill.errors import UserError
from distill.recipe import Recipe, Relabel
from distill.relabel.fuse import by_query
from distill.run import Run, Shard, Stage
from distill.tables import (
    CANDIDATES,
    EXAMPLES,
    LABELS,
    PASSAGES,
    QUERIES,
    Row,
    passage_text,
    read_shard,
    shards,
)


class Choice(NamedTuple):
    positive: Row
    negatives: list[Row]


class Corpus(NamedTuple):
    """What `choose` looks up: passage texts, queries by id, the retriever's similarities."""

    texts: Mapping[str, str]
    queries: Mapping[str, Row]
    similarity: Mapping[tuple[str, str], float]


def make_examples(
    run: Run, recipe: Recipe, passages: Stage, queries: Stage, candidates: Stage, labels: Stage
) -> Stage:
    """Choose each query's positive and hard negatives; `positive_score` and `negative_scores` are
    the retriever's cosine similarities."""
    settings = recipe.relabel.model_dump(
        include={"positive", "negatives", "negative_count", "negative_range"}
    )
    settings |= {"ties": recipe.relabel.rankers[0], "seed": recipe.seed}
    stage = run.stage("examples", settings, [labels])
    if stage.complete:
        return stage
    corpus = Corpus(
        {row["passage_id"]: passage_text(row) for row in passages.rows(PASSAGES)},
        {row["query_id"]: row for row in queries.rows(QUERIES)},
        {
            (row["query_id"], row["passage_id"]): row["similarity"]
            for row in candidates.rows(CANDIDATES)
        },
    )
    items = [read_shard(LABELS, path) for path in shards(labels.folder)]
    stage.map_shards(
        EXAMPLES, items, lambda rows: _examples(rows, recipe, corpus), size=len, unit="candidates"
    )
    stage.finish(**relabelling_figures(stage, labels, candidates, recipe.relabel.rankers[0]))
    if not stage.manifest["rows"]:
        raise UserError(
            str(stage.folder),
            f"no query is left to train on: {stage.manifest['counts']}",
            "generate more queries",
        )
    return stage


def choose(labels: list[Row], seed_id: str, rule: Relabel, draw: random.Random) -> Choice:
    """One query's positive and negatives, best and worst first.

    Args:
        labels: the query's label rows.
        draw: decides sampled negatives.
    """
    ordered = ranked(labels, rule.rankers[0])
    seed = next(row for row in ordered if row["passage_id"] == seed_id)
    positive = seed if rule.positive == "seed" else ordered[0]
    return Choice(positive, _negatives(ordered, {seed_id, positive["passage_id"]}, rule, draw))


def ranked(labels: list[Row], first_ranker: str) -> list[Row]:
    """Best first by fusion. Ties, which are frequent between two rankers without a constant (first
    and second place against second and first), are the first-named ranker's to break."""
    name = f"{first_ranker}_rank"
    return sorted(labels, key=lambda row: (-row["rrf"], row[name], row["retriever_rank"]))


def _negatives(
    ordered: list[Row], barred: set[str], rule: Relabel, draw: random.Random
) -> list[Row]:
    first, last = rule.negative_range if rule.negatives == "range" else (1, len(ordered))
    pool = [row for row in ordered[first - 1 : last] if row["passage_id"] not in barred]
    if rule.negatives == "lowest":
        return pool[::-1][: rule.negative_count]
    return draw.sample(pool, min(rule.negative_count, len(pool)))


def _examples(labels: list[Row], recipe: Recipe, corpus: Corpus) -> Shard:
    shard = Shard([], Counter())
    for of_query in by_query(labels):
        query = corpus.queries[of_query[0]["query_id"]]
        query_id, seed_id = query["query_id"], query["seed_id"]
        draw = random.Random(f"{recipe.seed}|{query_id}")
        choice = choose(of_query, seed_id, recipe.relabel, draw)
        if len(choice.negatives) < recipe.relabel.negative_count:
            shard.counts["fewer negatives than asked"] += 1
        shard.rows.append(_example(query, choice, corpus))
        shard.counts["kept"] += 1
        shard.counts["positive changed"] += choice.positive["passage_id"] != seed_id
    return shard


def _example(query: Row, choice: Choice, corpus: Corpus) -> Row:
    positive_id = choice.positive["passage_id"]
    negative_ids = [row["passage_id"] for row in choice.negatives]
    query_id = query["query_id"]
    return {
        "query_id": query_id,
        "task": query["task"],
        "task_type": query["task_type"],
        "query": query["query"],
        "seed_id": query["seed_id"],
        "positive_id": positive_id,
        "positive": corpus.texts[positive_id],
        "negative_ids": negative_ids,
        "negatives": [corpus.texts[id_] for id_ in negative_ids],
        "positive_score": corpus.similarity[query_id, positive_id],
        "negative_scores": [corpus.similarity[query_id, id_] for id_ in negative_ids],
        "relabelled": positive_id != query["seed_id"],
    }


def relabelling_figures(
    examples: Stage, labels: Stage, candidates: Stage, first_ranker: str
) -> dict[str, float]:
    """What the report says of relabelling: the share of positives that changed, the share of
    seeds that retrieval missed, and how far the first (p_1) is from the last (p_N)."""
    kept = examples.rows(EXAMPLES)
    missed = candidates.manifest["counts"].get("seed not retrieved", 0)
    queries = by_query(labels.rows(LABELS))
    orders = [ranked(of_query, first_ranker) for of_query in queries]
    ends = [(order[0], order[-1]) for order in orders]
    figures = {
        "share_relabelled": _mean([row["relabelled"] for row in kept]),
        "share_seed_not_retrieved": missed / max(1, len(queries)),
        "rrf_first_minus_last": _mean([first["rrf"] - last["rrf"] for first, last in ends]),
    }
    for ranker in ("ql", "rc"):
        gaps = [a[ranker] - b[ranker] for a, b in ends if a[ranker] is not None]
        if gaps:
            figures[f"{ranker}_first_minus_last"] = _mean(gaps)
    return {name: round(value, 4) for name, value in figures.items()}


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))
