"""BEIR folders (Thakur et al. 2021): corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv."""

import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from distill.corpus.documents import Columns, Document, Place, PlacedRow, Source, documents
from distill.corpus.jsonl import read_lines, sha256
from distill.errors import UserError
from distill.inputs import looked_for, read_text

_SCORE_NAMES = {"score", "relevance", "rel", "grade", "label", "judgement", "judgment", "rating"}
"""What a header may call the last column of a file of judgements."""


class Beir(NamedTuple):
    """A retrieval task. `corpus`: id -> {title, text}; `queries`: id -> text, those that the
    judgements name and no other; `qrels`: query id -> document id -> relevance."""

    corpus: dict[str, dict[str, str]]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def open_beir(folder: Path) -> Source:
    """The documents of a BEIR folder; its queries and judgements are not looked at.

    Raises:
        UserError: if the folder holds no corpus.jsonl.
    """
    file = _file(folder, "corpus.jsonl")
    identity = {"beir": folder.resolve().name, "sha256": sha256(file)}
    return Source(str(file), identity, lambda: _documents(file, folder.resolve().name))


def read_beir(folder: Path, split: str = "test") -> Beir:
    """A whole BEIR folder, checked.

    Raises:
        UserError: naming file and row, for a missing file, an empty corpus, a row without text,
            an id used twice, a malformed row, or a judgement that names what does not exist.
    """
    corpus_file, queries_file = _file(folder, "corpus.jsonl"), _file(folder, "queries.jsonl")
    qrels_file = _file(folder, f"qrels/{split}.tsv")
    found = _documents(corpus_file, folder.name)
    corpus = {d.id: {"title": d.title, "text": d.text} for d in found}
    if not corpus:
        raise UserError(str(corpus_file), "is empty", "write one document a row")
    asked = {d.id: d.text for d in _queries(queries_file)}
    qrels = _qrels(qrels_file, corpus.keys(), asked.keys())
    return Beir(corpus, {id_: asked[id_] for id_ in qrels}, qrels)


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise UserError(
            str(folder / name),
            f"no such file{looked_for(folder)}",
            "a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv",
        )
    return folder / name


def _documents(file: Path, source: str) -> Iterator[Document]:
    return documents(_placed(file, source), Columns())


def _queries(file: Path) -> Iterator[Document]:
    return documents(_placed(file, file.stem), Columns())


def _placed(file: Path, source: str) -> Iterator[PlacedRow]:
    for number, row in read_lines(file):
        if "_id" not in row:
            raise UserError(f"{file}, row {number}", "has no '_id'", "give every row an '_id'")
        yield Place(str(file), number), source, row


def _qrels(
    file: Path, corpus: Container[str], queries: Container[str]
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    rows: dict[tuple[str, str], int] = {}
    for number, query, document, relevance in _judgements(file):
        where = f"{file}, row {number}"
        if query not in queries:
            raise UserError(
                where,
                f"names the unknown query {query!r}",
                "add it to queries.jsonl or delete the row",
            )
        if document not in corpus:
            raise UserError(
                where,
                f"names the unknown document {document!r}",
                "add it to corpus.jsonl or delete the row",
            )
        if (query, document) in rows:
            raise UserError(
                where, f"judges the pair of row {rows[query, document]} again", "keep one of them"
            )
        rows[query, document] = number
        qrels.setdefault(query, {})[document] = relevance
    if not qrels:
        raise UserError(str(file), "holds no judgement", "one row a judgement, below the header")
    return qrels


def _judgements(file: Path) -> Iterator[tuple[int, str, str, int]]:
    """Line numbers, query ids, document ids and relevances of a qrels file with a header row."""
    # Not splitlines(), which breaks a line at characters that are no line's end here.
    for number, line in enumerate(read_text(file).split("\n"), 1):
        fields = line.split("\t")
        is_header = number == 1 and fields[-1].strip().lower() in _SCORE_NAMES
        if is_header or not line.strip():
            continue
        if len(fields) != 3 or not re.fullmatch(r"-?[0-9]{1,9}(\.0{1,9})?", fields[2].strip()):
            taken = "" if number > 1 else ", nor a header of these three names"
            raise UserError(
                f"{file}, row {number}",
                f"is not `query-id<TAB>corpus-id<TAB>score` with a whole number as score{taken}",
                "mend the row",
            )
        yield number, fields[0], fields[1], int(float(fields[2]))
