"""The stage `judgements-bm25`: the BM25 score of each candidate, whichever search proposed it. It
takes no model, so its judgements are not cached.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from distill.recipe import BM25
from distill.relabel.by_passage import QueryPassagePair, make_judgement_row
from distill.relabel.fuse import group_by_query
from distill.retrieve.bm25 import BM25Index, open_bm25
from distill.retrieve.terms import TERMS_RULE
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import CANDIDATES, JUDGEMENTS, QUERIES, Reader, Row, read_shard
from distill.workers.protocol import OpenWork, WorkerNeeds


def make_bm25_judgements(
    run: Run, settings: BM25, size: int, passages: Stage, queries: Stage, candidates: Stage
) -> Stage:
    """Score every candidate by BM25 over the whole corpus: 0 for one that shares no word with its
    query.

    Args:
        settings: `retriever.bm25`.
        size: queries per shard, `relabel.shard_size`.

    Raises:
        UserError: if the stemmer of the settings' language is not installed.
    """
    stage = run.open_stage("judgements-bm25", fingerprint(settings), [candidates])
    if stage.complete:
        return stage
    index = open_bm25(run, passages, settings)
    stage.map_on_workers(
        JUDGEMENTS,
        range(len(list_shards(candidates.folder))),
        partial(_open_judge, index, size, passages, queries, candidates),
        WorkerNeeds(),
        unit="shards",
        key="relabel.shard_size",
    )
    stage.finish()
    return stage


@contextmanager
def _open_judge(
    index: BM25Index, size: int, passages: Stage, queries: Stage, candidates: Stage
) -> Iterator[OpenWork[int, ShardResult]]:
    corpus = PassageReader(passages.folder)
    query_rows, paths = Reader(QUERIES, queries.folder), list_shards(candidates.folder)

    def judge(number: int) -> ShardResult:
        places = range(number * size, min((number + 1) * size, len(query_rows)))
        texts = {query_rows[i]["query_id"]: query_rows[i]["query"] for i in places}
        pairs = read_shard(CANDIDATES, paths[number])
        row_of = corpus.find_numbers({pair["passage_id"] for pair in pairs})
        return _judge_shard(index, row_of, texts, group_by_query(pairs))

    yield OpenWork(lambda numbers: [*map(judge, numbers)])


def fingerprint(settings: BM25) -> dict[str, object]:
    """Collect what changes the scores."""
    return {**settings.model_dump(), "terms": TERMS_RULE, "version": 1}


def _judge_shard(
    index: BM25Index, row_of: dict[str, int], queries: dict[str, str], lists: list[list[Row]]
) -> ShardResult:
    shard = ShardResult([])
    for candidates in lists:
        rows = [row_of[row["passage_id"]] for row in candidates]
        scores = index.score_rows(queries[candidates[0]["query_id"]], rows).tolist()
        for row, score in zip(candidates, scores, strict=True):
            pair = QueryPassagePair(row["query_id"], row["passage_id"])
            shard.rows.append(make_judgement_row(pair, "bm25", score, tokens=0))
    shard.counts = Counter(pairs=len(shard.rows), queries=len(lists))
    return shard
