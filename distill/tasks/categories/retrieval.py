"""Retrieval: a BEIR folder (Thakur et al. 2021)."""

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.corpus.readers.beir import BeirDataset, read_beir
from distill.errors import need
from distill.tasks.layout import TaskLayout

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


_warn_once = cache(logging.getLogger(__name__).warning)


def _read(task: "AbsTask", folder: Path) -> dict[str, Any]:
    by_split = {split: read_beir(folder, split) for split in task.eval_splits}
    if not getattr(task, "ignore_identical_ids", False):
        for beir in by_split.values():
            _warn_of_queries_that_are_documents(folder, beir)
    return {split: make_dataset(beir) for split, beir in by_split.items()}


def _warn_of_queries_that_are_documents(folder: Path, beir: BeirDataset) -> None:
    """Warn of queries that stand in the corpus under their own id and are no answer to themselves,
    as where documents like one another are looked for."""
    count = sum(
        id_ in beir.corpus
        and beir.corpus[id_]["text"].strip() == text.strip()
        and beir.qrels[id_].get(id_, 0) <= 0
        for id_, text in beir.queries.items()
    )
    if count:
        _warn_once(
            "%s: %d of %d queries are documents of the corpus, with the same id and text. Each "
            "finds itself first, which counts as wrong for every model, and lowers all scores: "
            "leave those out of corpus.jsonl that answer no other query",
            folder,
            count,
            len(beir.queries),
        )


def make_dataset(beir: BeirDataset) -> Any:
    """Return a split's data as mteb's retrieval tasks hold it."""
    dataset = need("datasets", "eval").Dataset
    ids, documents = list(beir.corpus), list(beir.corpus.values())
    corpus = {"id": ids} | {key: [d[key] for d in documents] for key in ("title", "text")}
    queries = {"id": list(beir.queries), "text": list(beir.queries.values())}
    return {
        "corpus": dataset.from_dict(corpus),
        "queries": dataset.from_dict(queries),
        "relevant_docs": {query: dict(judged) for query, judged in beir.qrels.items()},
        "top_ranked": None,
    }


RETRIEVAL = TaskLayout(
    category="Retrieval",
    base="AbsTaskRetrieval",
    metric="ndcg_at_10",
    says="corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv (query-id, corpus-id, score)",
    evaluated="qrels/{split}.tsv",
    marks=lambda folder: (folder / "corpus.jsonl").is_file() or (folder / "qrels").is_dir(),
    read=_read,
    others=lambda task: ("corpus.jsonl", "queries.jsonl"),
)
