"""The stage `candidates`: the nearest passages of each query, and its seed passage, where it has
one, even if retrieval missed it.

Task and query are embedded together where the retriever takes instructions (Gecko, section 3.2).
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from distill.embed.open_embedder import identify_embedder
from distill.errors import UserError
from distill.recipe import Relabel, Retriever, Teacher
from distill.relabel.statistics import WITHOUT_SEED
from distill.retrieve.corpus_index import identify_retriever
from distill.retrieve.dense.part_work import QueryBatches
from distill.retrieve.dense.search_cache import RetrieverQueries
from distill.retrieve.index import QUERIES_AT_ONCE
from distill.retrieve.retriever import PassageRetriever, RetrievedPassages
from distill.retrieve.terms import make_term_splitter
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import CANDIDATES, QUERIES, Reader, Row
from distill.workers.protocol import OpenWork

_log = logging.getLogger(__name__)
_EMPTY_COUNT = "nothing retrieved"
_FEWEST_CALLS = 64
"""Of searches that are short; there are fewer where they are longer."""
_RECALL_SAMPLE = 256
"""Number of queries on which an approximate index is compared with exact search."""


def make_candidates(
    run: Run,
    retriever: Retriever,
    rule: Relabel,
    passages: Stage,
    queries: Stage,
    teacher: Teacher | None = None,
) -> Stage:
    """Retrieve `relabel.top_k` passages for each query. Each shard reads, embeds and searches its
    own queries, so that memory does not grow with them.

    Args:
        teacher: embeds the passages, where the retriever is a query encoder of an earlier round.
    """
    size, top_k = rule.shard_size, rule.top_k
    if "bm25" in (*retriever.sources, *rule.rankers):
        make_term_splitter(
            retriever.bm25.language
        )  # refuse a language without a stemmer before all else
    settings = fingerprint(retriever, rule, teacher)
    stage = run.open_stage("candidates", settings, [passages, queries])
    if stage.complete:
        return stage
    _check_size(passages, top_k)
    compares = teacher is not None and rule.similarity_by == "teacher"
    searcher = PassageRetriever(run, retriever, passages, teacher, compares)
    query_rows = Reader(QUERIES, queries.folder)
    shards = [range(i, min(i + size, len(query_rows))) for i in range(0, len(query_rows), size)]
    together = _choose_together(len(query_rows), size, searcher.queries_at_once)
    opens = partial(_open_queries, queries, size)
    batches = QueryBatches(opens, len(shards), together, lambda number: len(shards[number]))
    with searcher.prepare(stage, batches, top_k):
        stage.map_on_workers(
            CANDIDATES,
            shards,
            partial(_open_search, searcher, passages, queries, top_k, size),
            searcher.needs,
            size=len,
            unit="queries",
            together=together,
            key="relabel.shard_size",
            requests_a_unit=1,
        )
    _warn_of_empty_results(stage.sum_counts()[_EMPTY_COUNT], len(query_rows))
    sample = [query_rows[i] for i in range(min(len(query_rows), size, _RECALL_SAMPLE))]
    recall = searcher.compute_recall(_split_queries_and_tasks(sample), top_k)
    figures: dict[str, Any] = {} if recall is None else {"recall_at_k": recall, "k": top_k}
    stage.finish(**figures)
    return stage


def _choose_together(queries: int, size: int, at_once: int) -> int:
    """Choose how many shards are searched at once: as many as have the queries of a pass through
    the corpus, but few where there are few, so that many workers have something to do."""
    shards = -(-queries // size)
    fewest = max(1, _FEWEST_CALLS * QUERIES_AT_ONCE // at_once)
    return max(1, min(at_once // size, shards // fewest))


def _open_queries(queries: Stage, size: int) -> Callable[[int], RetrieverQueries]:
    """Open the queries of all shards, which are read by the shard's number."""
    query_rows = Reader(QUERIES, queries.folder)

    def read(shard: int) -> RetrieverQueries:
        numbers = range(shard * size, min((shard + 1) * size, len(query_rows)))
        return _split_queries_and_tasks([query_rows[i] for i in numbers], shard)

    return read


@contextmanager
def _open_search(
    searcher: PassageRetriever, passages: Stage, queries: Stage, top_k: int, size: int
) -> Iterator[OpenWork[range, ShardResult]]:
    corpus = PassageReader(passages.folder)
    query_rows = Reader(QUERIES, queries.folder)

    def search(shards: Sequence[range]) -> Iterator[ShardResult]:
        several = [[query_rows[i] for i in numbers] for numbers in shards]
        batches = [
            _split_queries_and_tasks(queries, numbers.start // size)
            for queries, numbers in zip(several, shards, strict=True)
        ]
        hits = searcher.find(batches, top_k)
        for queries, results in zip(several, hits, strict=True):
            yield _make_shard(queries, results, corpus)

    yield OpenWork(search)


def _check_size(passages: Stage, top_k: int) -> None:
    """Check the size of the lists of candidates.

    Raises:
        UserError: for a corpus of one passage, among which there is nothing to search. One that
            consists of duplicates is named as such.
    """
    count = int(passages.manifest["rows"])
    if count == 1:
        duplicates = passages.sum_counts()["dropped duplicate"]
        others = f"; {duplicates} others are duplicates of it" if duplicates else ""
        distinct = "texts that differ" if duplicates else "a larger corpus"
        raise UserError(
            str(passages.folder),
            f"holds one passage, which answers every query{others}",
            f"give {distinct}, or lower corpus.max_tokens",
        )
    if count < top_k:
        _log.warning(
            "%s: holds %d passages, fewer than relabel.top_k (%d): every passage is a candidate of "
            "every query; give a larger corpus, or lower relabel.top_k",
            passages.folder,
            count,
            top_k,
        )


def fingerprint(
    retriever: Retriever, rule: Relabel, teacher: Teacher | None = None
) -> dict[str, object]:
    """Collect the settings that change which candidates are found."""
    settings: dict[str, object] = {
        **identify_retriever(retriever),
        "top_k": rule.top_k,
        "shard_size": rule.shard_size,
    }
    if teacher is not None:
        settings["teacher"] = identify_embedder(teacher, str(teacher.model))
        settings["similarity_by"] = rule.similarity_by
    return settings


def _warn_of_empty_results(count: int, queries: int) -> None:
    if count:
        _log.warning(
            "candidates: %d of %d queries share no word with any passage, so that BM25 finds "
            "nothing for them and only their seed remains, or nothing of a query of a log; add the "
            "source `dense`, or set retriever.bm25.language",
            count,
            queries,
        )


def _make_shard(
    queries: list[Row], results: RetrievedPassages, corpus: PassageReader
) -> ShardResult:
    shard = ShardResult([], Counter())
    seeds = corpus.find_numbers({query["seed_id"] for query in queries} - {""})
    numbers = sorted({*seeds.values(), *(row for rows in results.rows for row in rows)})
    ids = dict(zip(numbers, corpus.read_ids_at(numbers), strict=True))
    for place, (query, rows) in enumerate(zip(queries, results.rows, strict=True)):
        if not rows:
            shard.counts[_EMPTY_COUNT] += 1
        ranks: list[int | None] = list(range(1, len(rows) + 1))
        seed = seeds.get(query["seed_id"])
        if seed is None:
            shard.counts[WITHOUT_SEED] += 1
        elif seed in rows:
            shard.counts["seed retrieved"] += 1
        else:
            shard.counts["seed not retrieved"] += 1
            rows, ranks = [*rows, seed], [*ranks, None]
        scores = results.similarity(place, rows)
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


def _split_queries_and_tasks(rows: list[Row], shard: int | None = None) -> RetrieverQueries:
    """Split query rows, of the shard with this number, into their queries and their tasks."""
    tasks = [row["task"] for row in rows]
    return RetrieverQueries([row["query"] for row in rows], tasks, shard)
