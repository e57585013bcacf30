"""Reranking: questions, each with its own relevant and irrelevant texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.corpus.jsonl import read_lines
from distill.errors import UserError, need
from distill.evaluate.tasks.layout import OWN_SPLITS, Layout

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


def _read(task: "AbsTask", folder: Path) -> dict[str, Any]:
    return {split: _split(folder / f"{split}.jsonl", split) for split in task.eval_splits}


def _split(file: Path, split: str) -> dict[str, Any]:
    """As mteb turns its old reranking sets into retrieval ones, down to the ids: they break ties,
    and all of the score is in the order."""
    dataset = need("datasets", "eval").Dataset
    queries: list[dict[str, str]] = []
    corpus: list[dict[str, str]] = []
    relevant: dict[str, dict[str, int]] = {}
    for number, row in read_lines(file):
        query = f"{split}_query{len(queries)}"
        queries.append({"id": query, "text": _query(f"{file}, row {number}", row)})
        relevant[query] = {}
        for key, prefix, relevance in (("positive", "apositive", 1), ("negative", "negative", 0)):
            for i, text in enumerate(_texts(f"{file}, row {number}", row, key)):
                document = f"{prefix}_{query}_{i:05}"
                corpus.append({"id": document, "title": "", "text": text})
                relevant[query][document] = relevance
    if not queries:
        raise UserError(str(file), "holds no row", "write one question a row")
    return {
        "corpus": dataset.from_list(corpus),
        "queries": dataset.from_list(queries),
        "relevant_docs": relevant,
        "top_ranked": {query: list(documents) for query, documents in relevant.items()},
    }


def _query(where: str, row: Mapping[str, Any]) -> str:
    query = row.get("query")
    if not isinstance(query, str) or not query.strip():
        raise UserError(where, "has no text as 'query'", "fill or delete the row")
    return query


def _texts(where: str, row: Mapping[str, Any], key: str) -> list[str]:
    texts = row.get(key)
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise UserError(
            where,
            f"has no list of texts as {key!r}",
            "give each question positive and negative texts, or delete the row",
        )
    return texts


RERANKING = Layout(
    category="Reranking",
    base="AbsTaskRetrieval",
    metric="map_at_1000",
    says='SPLIT.jsonl with {"query": ..., "positive": [...], "negative": [...]} in each row',
    evaluated="{split}.jsonl",
    marks=lambda folder: any((folder / f"{split}.jsonl").is_file() for split in OWN_SPLITS),
    read=_read,
)
