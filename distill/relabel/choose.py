"""The stage `examples`: the positive and the hard negatives of each query (Gecko, section 3.2).

A better passage may replace the seed passage as positive, but the seed never becomes a negative:
the query was written for it. Nor does any passage that is a near-duplicate of the seed or a
positive. Queries with fewer negatives than `relabel.negative_count` are counted.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from distill.errors import UserError
from distill.files.atomic import write_json
from distill.recipe import Relabel
from distill.relabel.by_passage import CandidateTexts, count_shards_a_block, read_shard_queries
from distill.relabel.fuse import are_ranked, group_by_query
from distill.relabel.negatives import (
    draw_negatives,
    get_relevance_column,
    select_negative_pool,
    select_relevant,
)
from distill.relabel.statistics import (
    WITHOUT_SEED,
    RelabelledQuery,
    RunningStatistics,
    compute_bin_edges,
)
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import EXAMPLES, LABELS, QUERIES, Reader, Row, read_shard
from distill.workers.protocol import OpenWork, WorkerNeeds

CHANGES_FILE = "changes.json"
"""In the stage's metadata folder: some changes of positive, for the report."""
UNANSWERED = "no candidate answers it"
UNJUDGED = "no ranker gave a verdict on it"
SEED_KEPT = "seeds kept as no ranker gave a verdict"
NOT_RETRIEVED = "nothing was retrieved for it"
CHANGED = "positive changed"


class ChosenExamples(NamedTuple):
    """One query's positives and negatives. `positives`: the query's own, then further passages that
    answer it, best first. `counts`: rejected negatives by the first rule that rejects them."""

    positives: list[Row]
    negatives: list[Row]
    counts: Counter[str]


def make_examples(
    run: Run,
    rule: Relabel,
    seed: int,
    passages: Stage,
    queries: Stage,
    labels: Stage,
    candidates: Stage,
) -> Stage:
    """Choose each query's positives and hard negatives; `positive_score` and `negative_scores` are
    the retriever's similarities. A query without an answer goes to the table of dropped rows.
    The query's own id is that of its first example; further positives make examples of their own,
    `ID+2`, `ID+3` and so on, which no query's id can be.

    Args:
        seed: the recipe's, of negatives that are drawn.
        candidates: the stage whose manifest counts the seeds that retrieval missed.

    Raises:
        UserError: if no example is left.
    """
    stage = run.open_stage("examples", fingerprint(rule, seed), [labels])
    if not stage.complete:
        _fill_stage(stage, rule, seed, passages, queries, labels, candidates)
    if not stage.manifest["rows"]:
        raise UserError(
            str(stage.folder),
            f"no query is left to train on: {stage.manifest['counts']}",
            "generate more queries, or lower relabel.min_relevance",
        )
    return stage


def _fill_stage(
    stage: Stage,
    rule: Relabel,
    seed: int,
    passages: Stage,
    queries: Stage,
    labels: Stage,
    candidates: Stage,
) -> None:
    query_rows, paths = Reader(QUERIES, queries.folder), list_shards(labels.folder)
    stage.map_on_workers(
        EXAMPLES,
        range(len(paths)),
        partial(_open_choice, rule, seed, passages, queries, labels),
        WorkerNeeds(),
        group=lambda number: number // count_shards_a_block(rule),
        key="relabel.shard_size",
    )
    rankers = [*(ranker for ranker in rule.rankers if ranker != "retriever"), "retriever"]
    statistics = RunningStatistics(
        rankers, compute_bin_edges(labels.folder, rankers), stage.sum_counts()[CHANGED]
    )
    for number, path in enumerate(list_shards(stage.folder)):
        labelled = read_shard(LABELS, paths[number])
        statistics.add(
            _join_labels_and_examples(
                read_shard_queries(query_rows, number, rule.shard_size),
                labelled,
                read_shard(EXAMPLES, path),
                rule,
            )
        )
    _write_changes(stage, statistics, passages)
    counts = candidates.manifest["counts"]
    seeded = len(query_rows) - counts.get(WITHOUT_SEED, 0)
    share_missed = round(counts.get("seed not retrieved", 0) / max(1, seeded), 4)
    stage.finish([CHANGES_FILE], **statistics.summarize(), share_seed_not_retrieved=share_missed)


@contextmanager
def _open_choice(
    rule: Relabel, seed: int, passages: Stage, queries: Stage, labels: Stage
) -> Iterator[OpenWork[int, ShardResult]]:
    query_rows, paths = Reader(QUERIES, queries.folder), list_shards(labels.folder)
    texts = CandidateTexts(passages, paths, count_shards_a_block(rule))

    def choose(number: int) -> ShardResult:
        labelled = read_shard(LABELS, paths[number])
        shard_queries = read_shard_queries(query_rows, number, rule.shard_size)
        return _make_shard(shard_queries, labelled, texts.read_shard_texts(number), rule, seed)

    yield OpenWork(lambda numbers: [*map(choose, numbers)])


def choose_examples(
    labels: list[Row],
    seed_id: str,
    texts: Mapping[str, str],
    rule: Relabel,
    rng: random.Random,
) -> ChosenExamples | None:
    """Choose one query's positives and negatives; None where no candidate answers it. Without a
    seed passage the positive is the first by fusion, whatever `relabel.positive` says. Where
    `relabel.min_relevance` is set, it is the first of those that reach it. Where no ranker has
    ranked the candidates, only the seed passage can be the positive, and negatives are in the
    retriever's order.

    Args:
        labels: the query's label rows.
        seed_id: the passage that the query was written for; empty for a query of a log.
        texts: of all its candidates.
        rng: decides sampled negatives.
    """
    ordered = sort_by_fusion(labels, rule.rankers[0])
    seed = next(row for row in ordered if row["passage_id"] == seed_id) if seed_id else None
    best = ordered if are_ranked(ordered) else [row for row in [seed] if row]
    if rule.min_relevance is not None:
        best = select_relevant(best, rule, rule.min_relevance)
    if not best:
        return None
    positives = [_choose_positive(best[0], seed, rule)]
    further = select_relevant(ordered, rule, rule.more_positives)
    positives += [row for row in further if row is not positives[0]]
    if rule.negative_count == 0:  # long lists take minutes to compare with the positive
        return ChosenExamples(positives, [], Counter())
    pool, counts = select_negative_pool(ordered, seed, positives, texts, rule)
    return ChosenExamples(positives, draw_negatives(pool, rule, rng), counts)


def sort_by_fusion(labels: list[Row], first_ranker: str) -> list[Row]:
    """Sort labels by fusion, best first. The first-named ranker breaks ties, which are frequent
    between two rankers without a constant (first and second place against second and first);
    candidates that it has not judged, because of a cascade, come last."""
    name = f"{first_ranker}_rank"
    return sorted(
        labels, key=lambda row: (-row["rrf"], row[name] or math.inf, row["retriever_rank"])
    )


def _choose_positive(first: Row, seed: Row | None, rule: Relabel) -> Row:
    if seed is None:
        return first
    close = rule.positive == "margin" and first["rrf"] - seed["rrf"] < rule.positive_margin
    return seed if rule.positive == "seed" or close else first


def fingerprint(rule: Relabel, seed: int) -> dict[str, Any]:
    """Collect the settings that change the choice, and none that this choice does not use."""
    settings = rule.model_dump(
        include={
            "positive",
            "min_relevance",
            "more_positives",
            "negatives",
            "negative_count",
            "max_negative_share",
            "negative_margin",
            "near_duplicates",
        }
    )
    if rule.min_relevance is not None:
        settings["reaching min_relevance"] = "positive alone, never negative"
    settings["ties"] = rule.rankers[0]
    if rule.positive == "margin":
        settings["positive_margin"] = rule.positive_margin
    if rule.negatives == "range":
        settings["negative_range"] = rule.negative_range
        settings["ranks"] = "of what may be a negative"
    if rule.negatives in ("sampled", "range"):
        settings["seed"] = seed
    if rule.negatives_by != "fusion":
        settings["negatives_by"] = rule.negatives_by
    if rule.max_negative_share is not None or rule.negative_margin is not None:
        settings["confirmed_exempt"] = rule.confirmed_exempt
    return settings


def _make_shard(
    queries: list[Row], labels: list[Row], texts: Mapping[str, str], rule: Relabel, seed: int
) -> ShardResult:
    shard = ShardResult([])
    by_id = {row["query_id"]: row for row in queries}
    labelled = {row["query_id"] for row in labels}
    for query in queries:
        if query["query_id"] not in labelled:  # and it has no seed passage
            _drop(query, NOT_RETRIEVED, shard)
    for label_rows in group_by_query(labels):
        query = by_id[label_rows[0]["query_id"]]
        rng = random.Random(f"{seed}|{query['query_id']}")
        choice = choose_examples(label_rows, query["seed_id"], texts, rule, rng)
        if choice is None:
            _drop(query, _explain_drop(label_rows, rule), shard)
            continue
        counts = {
            "kept": 1,
            "additional positives": len(choice.positives) - 1,
            CHANGED: int(_is_relabelled(query, choice.positives[0])),
            WITHOUT_SEED: int(not query["seed_id"]),
            SEED_KEPT: int(not are_ranked(label_rows)),
            "fewer negatives than asked": int(len(choice.negatives) < rule.negative_count),
        }
        shard.counts += Counter(counts) + choice.counts
        for number, positive in enumerate(choice.positives, start=1):
            shard.rows.append(_make_example(query, number, positive, choice.negatives, texts))
    return shard


def _explain_drop(labels: list[Row], rule: Relabel) -> str:
    relevance = get_relevance_column(rule)
    return UNJUDGED if all(row[relevance] is None for row in labels) else UNANSWERED


def _drop(query: Row, reason: str, shard: ShardResult) -> None:
    shard.counts[f"dropped: {reason}"] += 1
    dropped = {"item_id": query["query_id"], "reason": reason, "text": query["query"]}
    shard.dropped.append(dropped)


def _make_example(
    query: Row, number: int, positive: Row, negatives: list[Row], texts: Mapping[str, str]
) -> Row:
    negative_ids = [row["passage_id"] for row in negatives]
    return {
        "query_id": query["query_id"] if number == 1 else f"{query['query_id']}+{number}",
        "task": query["task"],
        "task_type": query["task_type"],
        "query": query["query"],
        "seed_id": query["seed_id"],
        "positive_id": positive["passage_id"],
        "positive": texts[positive["passage_id"]],
        "negative_ids": negative_ids,
        "negatives": [texts[id_] for id_ in negative_ids],
        "positive_score": positive["similarity"],
        "negative_scores": [row["similarity"] for row in negatives],
        "relabelled": _is_relabelled(query, positive),
    }


def _is_relabelled(query: Row, positive: Row) -> bool:
    """Return whether another passage took the place of the seed; never for a query without one."""
    return bool(query["seed_id"]) and positive["passage_id"] != query["seed_id"]


def _join_labels_and_examples(
    queries: list[Row], labels: list[Row], examples: list[Row], rule: Relabel
) -> list[RelabelledQuery]:
    """Join a shard's queries with their labels and their own example."""
    by_id = {row["query_id"]: row for row in queries}
    chosen = {row["query_id"]: row for row in examples}
    joined = []
    for label_rows in group_by_query(labels):
        query_id = label_rows[0]["query_id"]
        ordered = sort_by_fusion(label_rows, rule.rankers[0])
        joined.append(RelabelledQuery(by_id[query_id], ordered, chosen.get(query_id)))
    return joined


def _write_changes(stage: Stage, statistics: RunningStatistics, passages: Stage) -> None:
    seeds = PassageReader(passages.folder).read_texts(
        {change["seed_id"] for change in statistics.changes}
    )
    changes = [{**change, "seed": seeds[change["seed_id"]]} for change in statistics.changes]
    write_json(stage.metadata_dir / CHANGES_FILE, changes)
