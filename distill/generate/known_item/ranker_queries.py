"""Queries whose passage is known and that no language model wrote, to check rankers by: half of
them titles, half sentences, each taken out of the passage that it asks for."""

import random
from collections import Counter
from typing import Any, NamedTuple

from distill.generate.known_item.items import KnownItem, name_document
from distill.generate.known_item.stage import take_sentences, take_titles
from distill.recipe import RankerCheck
from distill.store.passages import PassageReader, draw_passages
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import NO_LLM, PASSAGES, QUERIES, Row

_VERSION = 1
_SHARD = 1024


class KnownQueries(NamedTuple):
    """A small corpus in which the known passages have lost their query, and the queries."""

    passages: Stage
    queries: Stage


def make_known_queries(
    run: Run, check: RankerCheck, task: str, seed: int, passages: Stage
) -> KnownQueries:
    """Draw at most `relabel.check.passages` passages, one of each document, and take at most
    `relabel.check.queries` queries out of them: the stages `passages` and `queries` of a run of
    their own.

    Args:
        task: of all queries.
    """
    corpus = run.open_stage("passages", fingerprint(check, seed), [passages])
    queries = run.open_stage("queries", {"task": task}, [corpus])
    if corpus.complete and queries.complete:
        return KnownQueries(corpus, queries)
    documents = _draw_documents(check.passages, seed, passages)
    items = _take_queries(check.queries, seed, documents)
    cut = {row["passage_id"]: row for item in items for row in item.passages}
    rows = [cut.get(row["passage_id"], row) for (row,) in documents.values()]
    if not corpus.complete:
        parts = [rows[i : i + _SHARD] for i in range(0, len(rows), _SHARD)]
        corpus.map_shards(PASSAGES, parts, ShardResult)
        corpus.finish()
    if not queries.complete:
        query_rows = [_make_query(item, task) for item in items]
        kinds = Counter(row["task_type"] for row in query_rows)
        queries.map_shards(QUERIES, [query_rows], lambda part: ShardResult(part, kinds))
        queries.finish()
    return KnownQueries(corpus, queries)


def fingerprint(check: RankerCheck, seed: int) -> dict[str, Any]:
    """Collect the settings that change which passages are drawn, and which queries are taken out of
    them."""
    return {"seed": seed, "version": _VERSION, **check.list_fingerprinted({"top_k"})}


def _draw_documents(most: int, seed: int, passages: Stage) -> dict[str, list[Row]]:
    """Draw at most `most` passages by seed, in the corpus' order, by their ids."""
    rows = draw_passages(PassageReader(passages.folder), most, f"{seed}|ranker check")
    first = {name_document(row): row for row in reversed(rows)}
    return {row["passage_id"]: [row] for row in rows if first[name_document(row)] is row}


def _take_queries(most: int, seed: int, documents: dict[str, list[Row]]) -> list[KnownItem]:
    """Take at most `most` queries: titles out of half of the documents, and sentences out of the
    others and of those without a title; as many of both as there are, in the corpus' order."""
    names = [*documents]
    random.Random(f"{seed}|ranker queries").shuffle(names)
    half = set(names[: len(names) // 2])
    rest = [row for name, rows in documents.items() if name not in half for row in rows]
    titles = take_titles({name: documents[name] for name in documents if name in half}, rest)
    asking = {name: rows for name, rows in documents.items() if name not in titles}
    sentences = take_sentences(seed, asking, documents, [])
    of_sentences = min(len(sentences), max(most // 2, most - len(titles)))
    chosen = [name for name in names if name in titles][: most - of_sentences]
    chosen += [name for name in names if name in sentences][:of_sentences]
    queries = titles | sentences
    return [queries[name] for name in documents if name in set(chosen)]


def _make_query(item: KnownItem, task: str) -> Row:
    return {
        "query_id": f"{item.document}~{item.kind}",
        "seed_id": item.answers[0],
        "task": task,
        "task_type": f"{item.kind}s",
        "query": item.query,
        "persona": None,
        "llm": NO_LLM,
    }
