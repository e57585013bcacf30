"""Reranking: questions, each with its own relevant and irrelevant texts."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.corpus.faults import RowFaults
from distill.corpus.readers.jsonl import read_lines
from distill.errors import UserError, need
from distill.tasks.layout import OWN_SPLITS, TaskLayout

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


_log = logging.getLogger(__name__)
_KINDS = (("apositive", 1), ("negative", 0))
"""How ids begin, and what the texts are worth."""


def _read(task: "AbsTask", folder: Path) -> dict[str, Any]:
    return {split: _split(folder / f"{split}.jsonl", split) for split in task.eval_splits}


def _split(file: Path, split: str) -> dict[str, Any]:
    """Turn reranking sets into retrieval ones as mteb does with its old ones, down to the ids: they
    break ties, and all of the score is in the order. Questions without positive or negative texts
    are passed over, as mteb does."""
    dataset = need("datasets", "eval").Dataset
    queries: list[dict[str, str]] = []
    corpus: list[dict[str, str]] = []
    relevant: dict[str, dict[str, int]] = {}
    for query_text, texts in _read_questions(file):
        query = f"{split}_query{len(queries)}"
        queries.append({"id": query, "text": query_text})
        relevant[query] = {}
        for (prefix, relevance), of_kind in zip(_KINDS, texts, strict=True):
            for i, text in enumerate(of_kind):
                document = f"{prefix}_{query}_{i:05}"
                corpus.append({"id": document, "title": "", "text": text})
                relevant[query][document] = relevance
    if not queries:
        raise UserError(
            str(file),
            "holds no question that has positive and negative texts",
            "write one question a row",
        )
    return {
        "corpus": dataset.from_list(corpus),
        "queries": dataset.from_list(queries),
        "relevant_docs": relevant,
        "top_ranked": {query: list(documents) for query, documents in relevant.items()},
    }


def _read_questions(file: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield each question's text, its positive and its negative texts."""
    faults, passed_over = RowFaults(), 0
    for number, row in read_lines(file, faults):
        where = f"{file}, row {number}"
        try:
            query = _read_query(where, row)
            texts = [_read_texts(where, row, key) for key in ("positive", "negative")]
        except UserError as fault:
            faults.add(fault)
            continue
        if all(texts):
            yield query, texts
        else:
            passed_over += 1
    faults.raise_any()
    if passed_over:
        _log.warning(
            "%s: %d rows have no positive or no negative texts and are passed over, as mteb does",
            file,
            passed_over,
        )


def _read_query(where: str, row: Mapping[str, Any]) -> str:
    query = row.get("query")
    if not isinstance(query, str):
        raise UserError(where, "has no text as 'query'", "fill or delete the row")
    return query


def _read_texts(where: str, row: Mapping[str, Any], key: str) -> list[str]:
    texts = row.get(key)
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise UserError(
            where,
            f"has no list of texts as {key!r}",
            "give each question positive and negative texts, or delete the row",
        )
    return texts


RERANKING = TaskLayout(
    category="Reranking",
    base="AbsTaskRetrieval",
    metric="map_at_1000",
    says='SPLIT.jsonl with {"query": ..., "positive": [...], "negative": [...]} in each row',
    evaluated="{split}.jsonl",
    marks=lambda folder: any((folder / f"{split}.jsonl").is_file() for split in OWN_SPLITS),
    read=_read,
)
