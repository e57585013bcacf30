"""BEIR folders (Thakur et al. 2021): corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv."""

import logging
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from distill.corpus.faults import RowFaults
from distill.corpus.readers.jsonl import hash_file, read_lines
from distill.corpus.readers.packed import CODECS, open_unpacked
from distill.corpus.readers.rows import (
    NO_TEXT,
    Columns,
    CorpusSource,
    Document,
    RowLocation,
    SkippedRow,
    check_documents,
)
from distill.errors import UserError
from distill.files.read import decode, describe_search

_log = logging.getLogger(__name__)
_NAMED = 3
"""Unknown ids that a warning names."""
_SCORE_NAMES = {"score", "relevance", "rel", "grade", "label", "judgement", "judgment", "rating"}
"""What a header may call the last column of a file of judgements."""


class BeirDataset(NamedTuple):
    """A retrieval task. `corpus`: id -> {title, text}; `queries`: id -> text, those that the
    judgements name and no other; `qrels`: query id -> document id -> relevance."""

    corpus: dict[str, dict[str, str]]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def open_beir(folder: Path) -> CorpusSource:
    """Open the documents of a BEIR folder; its queries and judgements are not looked at.

    Raises:
        UserError: if the folder holds no corpus.jsonl.
    """
    file = _find_file(folder, "corpus.jsonl")
    identity = {"beir": folder.resolve().name, "sha256": hash_file(file)}
    return CorpusSource(str(file), identity, lambda: _read_documents(file, folder.resolve().name))


def open_beir_folders(path: Path, folders: Sequence[Path]) -> CorpusSource:
    """Open the documents of several BEIR folders, such as one a language. A document's id is the
    name of its folder and its own id: `de/p7`."""
    sources = {folder.name: open_beir(folder) for folder in folders}

    def read() -> Iterator[Document | SkippedRow]:
        for name, source in sources.items():
            for document in source.read():
                yield document._replace(id=f"{name}/{document.id}")

    identity = {"folders": {name: source.identity for name, source in sources.items()}}
    return CorpusSource(str(path), identity, read)


def read_beir(folder: Path, split: str = "test") -> BeirDataset:
    """Read a whole BEIR folder, as mteb reads one: texts may be empty, and of judgements that name
    what does not exist those of a query are passed over, those of a document stay, as not
    retrieved. Both are said.

    Raises:
        UserError: naming file and row, for a missing file, an empty corpus, an id with two texts,
            a malformed row; or if the judgements name no query or no document that there is.
    """
    corpus_file, queries_file = (
        _find_file(folder, "corpus.jsonl"),
        _find_file(folder, "queries.jsonl"),
    )
    qrels_file = _find_file(folder, f"qrels/{split}.tsv")
    corpus = {d.id: {"title": d.title, "text": d.text} for d in _read_task_rows(corpus_file)}
    if not corpus:
        raise UserError(str(corpus_file), "is empty", "write one document a row")
    texts = {d.id: d.text for d in _read_task_rows(queries_file)}
    qrels = _read_qrels(qrels_file, corpus.keys(), texts.keys())
    return BeirDataset(corpus, {id_: texts[id_] for id_ in qrels}, qrels)


def is_beir(folder: Path) -> bool:
    """Return whether a folder holds the documents and queries of a BEIR task, compressed or not."""
    return all(_list_files(folder, name) for name in ("corpus.jsonl", "queries.jsonl"))


def find_corpus_file(folder: Path) -> Path:
    """Find the file of a BEIR folder's documents, compressed or not.

    Raises:
        UserError: if there is none, or several.
    """
    return _find_file(folder, "corpus.jsonl")


def _find_file(folder: Path, name: str) -> Path:
    files = _list_files(folder, name)
    if not files:
        raise UserError(
            str(folder / name),
            f"no such file{describe_search(folder)}",
            "a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv",
        )
    if len(files) > 1:
        raise UserError(
            str(folder),
            f"holds both {files[0].name} and {files[1].name}",
            "keep the one that is to be read",
        )
    return files[0]


def _list_files(folder: Path, name: str) -> list[Path]:
    """List the file of that name and its compressed forms, those that are there."""
    endings = ("", *CODECS)
    return [path for path in (folder / f"{name}{end}" for end in endings) if path.is_file()]


def _read_documents(file: Path, source: str) -> Iterator[Document | SkippedRow]:
    faults = RowFaults()
    rows = (
        (RowLocation(str(file), number), source, row) for number, row in read_lines(file, faults)
    )
    return check_documents(rows, Columns(), faults, may_be_numbered=False)


def _read_task_rows(file: Path) -> Iterator[Document]:
    """Yield the rows of a task's corpus or queries. Empty ones stay: the task has them."""
    for document in _read_documents(file, file.stem):
        if isinstance(document, Document):
            yield document
        elif document.reason == NO_TEXT:
            yield Document(document.id, "", "", file.stem)


def _read_qrels(
    file: Path, corpus: Container[str], queries: Container[str]
) -> dict[str, dict[str, int]]:
    """Return what the rows say of queries that there are. The last row of a pair holds, as for
    mteb."""
    faults, judged, no_query, no_document = RowFaults(), 0, _Unknown(), _Unknown()
    qrels: dict[str, dict[str, int]] = {}
    for number, query, document, relevance in _read_judgements(file, faults):
        judged += 1
        if document not in corpus:
            no_document.add(number, document)
        if query not in queries:
            no_query.add(number, query)
        else:
            qrels.setdefault(query, {})[document] = relevance
    faults.raise_any()
    if not judged:
        raise UserError(str(file), "holds no judgement", "one row a judgement, below the header")
    no_query.warn(file, judged, "query", "queries.jsonl", "passed over")
    no_document.warn(file, judged, "document", "corpus.jsonl", "counted as not retrieved")
    return qrels


class _Unknown:
    """Judgements that name what does not exist."""

    def __init__(self) -> None:
        self._count = 0
        self._first: list[str] = []

    def add(self, row: int, id_: str) -> None:
        self._count += 1
        if len(self._first) < _NAMED:
            self._first.append(f"{id_!r} in row {row}")

    def warn(self, file: Path, judged: int, kind: str, other: str, treated: str) -> None:
        """Warn of judgements that name what the corpus lacks.

        Raises:
            UserError: if all judgements do.
        """
        if not self._count:
            return
        first = ", ".join(self._first) + (", ..." if self._count > _NAMED else "")
        if self._count == judged:
            raise UserError(
                str(file),
                f"names no {kind} of {other}, but {first}",
                f"give the {kind} the same id in both files",
            )
        _log.warning(
            "%s: %d of %d judgements name a %s that %s does not hold (%s): %s, as mteb does",
            file,
            self._count,
            judged,
            kind,
            other,
            first,
            treated,
        )


def _read_whole(file: Path) -> str:
    with open_unpacked(file) as source:
        return decode(source.read(), str(file))


def _read_judgements(file: Path, faults: RowFaults) -> Iterator[tuple[int, str, str, int]]:
    """Yield line numbers, query ids, document ids and relevances of a qrels file with a header
    row."""
    # Not splitlines(), which breaks a line at characters that are no line's end here.
    for number, line in enumerate(_read_whole(file).split("\n"), 1):
        fields = line.split("\t")
        is_header = number == 1 and fields[-1].strip().lower() in _SCORE_NAMES
        if is_header or not line.strip():
            continue
        if len(fields) != 3 or not re.fullmatch(r"-?[0-9]{1,9}(\.0{1,9})?", fields[2].strip()):
            taken = "" if number > 1 else ", nor a header of these three names"
            what = "is not `query-id<TAB>corpus-id<TAB>score` with a whole number as score"
            faults.add(UserError(f"{file}, row {number}", what + taken, "fix the row"))
            continue
        yield number, fields[0], fields[1], int(float(fields[2]))
