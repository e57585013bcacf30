"""Retrieval: a BEIR folder (Thakur et al. 2021)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.corpus.readers.beir import BeirDataset, read_beir
from distill.errors import need
from distill.tasks.layout import TaskLayout

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


def _read(task: "AbsTask", folder: Path) -> dict[str, Any]:
    return {split: make_dataset(read_beir(folder, split)) for split in task.eval_splits}


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
