"""Write the documents that a model or a search ranks first for each query of a task, as a Parquet
file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.files.atomic import commit_bytes

Rankings = dict[str, dict[str, dict[str, float]]]
"""By split/subset and query: documents with their scores, best first."""

_SCHEMA = pa.schema(
    [
        pa.field("part", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("documents", pa.list_(pa.string()), nullable=False),
        pa.field("scores", pa.list_(pa.float64()), nullable=False),
    ]
)
_ORIGIN = b"distill"
NO_DOCUMENT = ""
"""The id under which a search says that it finds nothing for a query."""


def rank_documents(scores: Mapping[str, float]) -> dict[str, float]:
    """Sort documents by falling score as trec_eval does, ties by falling id.

    >>> rank_documents({"a": 0.5, "b": 0.5, "c": 0.9})
    {'c': 0.9, 'b': 0.5, 'a': 0.5}
    """
    documents = (document for document in scores if document != NO_DOCUMENT)
    ranked = sorted(documents, key=lambda document: (scores[document], document), reverse=True)
    return {document: scores[document] for document in ranked}


def write_rankings(path: Path, rankings: Rankings, origin: Mapping[str, Any]) -> None:
    """Write rankings to a file that is there whole or not at all.

    Args:
        origin: JSON, what they were computed of (`describe_task`); `has_rankings` compares it.
    """
    rows = [
        {
            "part": part,
            "query": query,
            "documents": list(documents),
            "scores": list(documents.values()),
        }
        for part, by_query in rankings.items()
        for query, documents in by_query.items()
    ]
    metadata = {_ORIGIN: json.dumps(origin, sort_keys=True).encode()}
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=_SCHEMA).replace_schema_metadata(metadata)
    pq.write_table(table, sink, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    commit_bytes(path, sink.getvalue().to_pybytes())


def has_rankings(path: Path, origin: Mapping[str, Any]) -> bool:
    """Tell whether a file holds whole rankings that were computed of this."""
    if not path.is_file():
        return False
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (pa.ArrowException, OSError):
        return False
    return bool(metadata.get(_ORIGIN) == json.dumps(origin, sort_keys=True).encode())


def read_rankings(path: Path) -> Rankings:
    """Read the rankings of a file that `write_rankings` wrote."""
    rankings: Rankings = {}
    for row in pq.read_table(path, schema=_SCHEMA).to_pylist():
        documents = dict(zip(row["documents"], row["scores"], strict=True))
        rankings.setdefault(row["part"], {})[row["query"]] = documents
    return rankings


def cut_rankings(rankings: Rankings, depth: int) -> dict[str, list[str]]:
    """Keep the first `depth` documents of each query of a task with one split and language.

    Raises:
        ValueError: if the task has several, where an id may stand for several queries.
    """
    (by_query,) = rankings.values()
    return {query: list(documents)[:depth] for query, documents in by_query.items()}


def make_falling_scores(documents: Sequence[str]) -> dict[str, float]:
    """Give documents in their order scores that fall from one by one, so that no two tie."""
    return {document: float(len(documents) - place) for place, document in enumerate(documents)}
