"""Candidates: the nearest passages of each generated query, task and query embedded together where
the retriever is told tasks (Gecko, section 3.2), and the seed passage even where retrieval missed
it."""

import logging
from collections import Counter

from distill.embed.encoder import Encoder
from distill.recipe import Recipe
from distill.retrieve.corpus_index import identity, passage_ids
from distill.retrieve.retriever import PassageRetriever
from distill.retrieve.terms import terms_in
from distill.store.run import Run, ShardResult, Stage
from distill.store.tables import CANDIDATES, QUERIES, Reader, Row

_log = logging.getLogger(__name__)
_EMPTY_COUNT = "nothing retrieved"
_RECALL_SAMPLE = 256
"""Queries of the first shard on which an approximate index is compared with exact search."""


def make_candidates(
    run: Run, recipe: Recipe, passages: Stage, queries: Stage, encoder: Encoder | None = None
) -> Stage:
    """Retrieve `relabel.top_k` passages for each query. Each shard reads, embeds and searches its
    own queries, so that memory does not grow with them.

    Args:
        encoder: in the place of the recipe's retriever, where an earlier round made one.
    """
    retriever, top_k = recipe.retriever, recipe.relabel.top_k
    size = recipe.relabel.shard_size
    if "bm25" in (*retriever.sources, *recipe.relabel.rankers):
        terms_in(retriever.bm25.language)  # what cannot be stemmed is refused before all else
    settings = {
        **identity(retriever),
        **(encoder.identity if encoder else {}),
        "top_k": top_k,
        "shard_size": size,
    }
    stage = run.stage("candidates", settings, [passages, queries])
    if stage.complete:
        return stage
    finder = PassageRetriever(run, retriever, passages, encoder)
    ids = passage_ids(passages)
    row_of = {id_: row for row, id_ in enumerate(ids)}
    asked = Reader(QUERIES, queries.folder)

    def work(numbers: range) -> ShardResult:
        return _search_shard([asked[i] for i in numbers], finder, ids, row_of, top_k)

    items = [range(i, min(i + size, len(asked))) for i in range(0, len(asked), size)]
    stage.map_shards(CANDIDATES, items, work, size=len, unit="queries", key="relabel.shard_size")
    _warn_of_empty_results(stage.counts()[_EMPTY_COUNT], len(asked))
    sample = [asked[i] for i in range(min(len(asked), size, _RECALL_SAMPLE))]
    recall = finder.recall(*_split_queries_and_tasks(sample), top_k)
    stage.finish(**({} if recall is None else {"recall_at_k": recall, "k": top_k}))
    return stage


def _warn_of_empty_results(count: int, queries: int) -> None:
    if count:
        _log.warning(
            "candidates: %d of %d queries share no word with any passage, so that BM25 finds them "
            "nothing but their seed; add the source `dense`, or set retriever.bm25.language",
            count,
            queries,
        )


def _search_shard(
    asked: list[Row],
    finder: PassageRetriever,
    ids: list[str],
    row_of: dict[str, int],
    top_k: int,
) -> ShardResult:
    shard = ShardResult([], Counter())
    found = finder.find(*_split_queries_and_tasks(asked), top_k)
    for place, (query, rows) in enumerate(zip(asked, found.rows, strict=True)):
        if not rows:
            shard.counts[_EMPTY_COUNT] += 1
        ranks: list[int | None] = list(range(1, len(rows) + 1))
        seed = row_of[query["seed_id"]]
        if seed in rows:
            shard.counts["seed retrieved"] += 1
        else:
            shard.counts["seed not retrieved"] += 1
            rows, ranks = [*rows, seed], [*ranks, None]
        scores = found.similarity(place, rows)
        shard.rows += [
            {
                "query_id": query["query_id"],
                "passage_id": ids[row],
                "rank": rank,
                "similarity": score,
            }
            for row, rank, score in zip(rows, ranks, scores, strict=True)
        ]
    return shard


def _split_queries_and_tasks(asked: list[Row]) -> tuple[list[str], list[str]]:
    """The queries, and their tasks."""
    return [row["query"] for row in asked], [row["task"] for row in asked]
