"""Write a retrieval task as a BEIR folder."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from distill.files.atomic import commit_bytes


def write_beir_folder(
    folder: Path,
    documents: Iterable[Mapping[str, Any]],
    queries: Iterable[Mapping[str, Any]],
    grades: Mapping[tuple[str, str], int],
) -> None:
    """Write corpus.jsonl, queries.jsonl and qrels/test.tsv.

    Args:
        documents: rows with _id, title and text.
        queries: rows with _id and text.
        grades: by ids of query and document.
    """
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    write_json_lines(folder / "corpus.jsonl", documents)
    write_json_lines(folder / "queries.jsonl", queries)
    lines = [f"{query}\t{document}\t{grade}" for (query, document), grade in grades.items()]
    text = "\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n"
    commit_bytes(folder / "qrels" / "test.tsv", text.encode())


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSONL, whole or not at all."""
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    commit_bytes(path, text.encode())
