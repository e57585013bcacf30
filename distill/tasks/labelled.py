"""Labelled sets as people have them, as retrieval tasks: SQuAD's JSON, and tables of questions with
the passages, or the ids of the documents, that answer them."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from distill.corpus.faults import RowFaults
from distill.corpus.readers.beir import BeirDataset
from distill.corpus.readers.csv_files import has_open_quote
from distill.corpus.readers.jsonl import hash_file
from distill.corpus.readers.packed import open_unpacked, strip_packed_ending
from distill.corpus.readers.rows import CorpusSource, Document, is_blank
from distill.corpus.readers.tables import detect_form, read_table
from distill.errors import UserError
from distill.files.read import decode, describe, parse_json
from distill.recipe import LabelledColumns
from distill.tasks.answer_columns import settle_answers
from distill.tasks.layout import LOCAL

_log = logging.getLogger(__name__)
_log_once = cache(_log.info)
_USUAL = LabelledColumns(
    question="question query q query_text question_text anchor utterance",
    passage="passage context positive answer document text paragraph abstract content pos",
    document="doc_id document_id docid docno corpus_id corpus-id passage_id pid doc relevant",
    title="title headline heading",
    score="score relevance rel grade label rating",
)
"""Names that people give the columns, the likeliest first."""
_FORMS = "a SQuAD file, or a table with a column of questions and one of passages or document ids"
_NAMED = 3
"""Unknown ids that a message names."""
_NONE = "none"
"""Instead of a column's name: the table has no such column, whatever its columns are called.
"""
_OPTIONAL = ("title", "score")
"""Parts that some rows of JSON may leave out, perhaps the first one too."""


class LabelledRow(NamedTuple):
    """A question and what answers it. `answers`: document ids, or passages where `are_passages`."""

    where: str
    question: str
    answers: list[str]
    title: str
    score: int


@dataclass
class _Collector:
    """A task's documents, queries and judgements while rows are read. Equal questions are one
    query, equal passages one document."""

    documents: dict[str, dict[str, str]] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, dict[str, int]] = field(default_factory=dict)
    _query_ids: dict[str, str] = field(default_factory=dict)
    _document_ids: dict[tuple[str, str], str] = field(default_factory=dict)

    def add_passage(self, title: str, text: str) -> str:
        """Return the id of a passage, which is new or there already."""
        id_ = self._document_ids.setdefault((title, text), f"d{len(self._document_ids)}")
        self.documents[id_] = {"title": title, "text": text}
        return id_

    def judge(self, question: str, document: str, score: int) -> None:
        """Add a judgement; of several on the same pair the highest holds."""
        id_ = self._query_ids.setdefault(question, f"q{len(self._query_ids)}")
        self.queries[id_] = question
        scores = self.qrels.setdefault(id_, {})
        scores[document] = max(score, scores.get(document, 0))

    def finish(self, file: Path) -> tuple[BeirDataset, int]:
        """Return the data set of all that was collected, and how many questions are left out
        since each of their judgements is 0: nothing that is found for them could be right.

        Raises:
            UserError: if no question has an answer.
        """
        answered = {id_ for id_, scores in self.qrels.items() if any(scores.values())}
        if not answered:
            raise UserError(str(file), "holds no question with an answer", f"give {_FORMS}")
        left_out = len(self.queries) - len(answered)
        if left_out:
            _log.warning(
                "%s: %d of %d questions are left out: each of their judgements is 0",
                file, left_out, len(self.queries),
            )  # fmt: skip
        queries = {id_: text for id_, text in self.queries.items() if id_ in answered}
        qrels = {id_: scores for id_, scores in self.qrels.items() if id_ in answered}
        return BeirDataset(self.documents, queries, qrels), left_out


def is_labelled_file(name: str) -> bool:
    """Return whether the name of a task is that of a file which may hold a labelled set."""
    return detect_form(Path(name)) is not None


def name_task(file: Path) -> str:
    """Return the name of the task that a labelled file is: `questions` of `my/questions.csv.gz`."""
    return Path(strip_packed_ending(file)).stem


def read_labelled(
    file: Path, columns: LabelledColumns, corpus: CorpusSource | None
) -> tuple[BeirDataset, str]:
    """Read a labelled set as a retrieval task, and a revision that changes when the task does.

    A table with a column of passages is searched over its own passages; one of document ids over
    the corpus, whose documents stay whole. Of both kinds of columns, neither of them named,
    `settle_answers` keeps one.

    Args:
        columns: which columns hold what; those that are not named are found by their usual names.
        corpus: the documents that ids name.

    Raises:
        UserError: naming file and row, for columns that are not there (listing those that are), a
            row without question or answer, or ids without a corpus or none of which it holds.
    """
    articles = _read_articles(file)
    if articles is not None:
        data, left_out = _collect_articles(file, articles)
        return data, _make_revision(file, columns, None, left_out)
    columns = _find_columns(file, columns, corpus)
    if columns.passage is not None:
        data, left_out = _collect_passages(file, columns)
        return data, _make_revision(file, columns, None, left_out)
    if corpus is None:
        raise UserError(
            str(file),
            f"names documents by the ids in {columns.document!r}, and no corpus is given",
            f"name it by --corpus, or put it beside the file as {file.parent / 'corpus.jsonl'}",
        )
    data, left_out = _collect_ids(file, columns, corpus)
    return data, _make_revision(file, columns, corpus, left_out)


def _make_revision(
    file: Path, columns: LabelledColumns, corpus: CorpusSource | None, left_out: int
) -> str:
    """Hash what the task is made of. Results from before questions were left out, or from before
    quotes were letters in a TSV file, are of another task; every other task keeps the revision that
    it had."""
    content: list[Any] = [hash_file(file), columns.model_dump(), corpus and corpus.identity]
    content += [left_out] if left_out else []
    content += ["open quotes are letters"] if has_open_quote(file) else []
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    return f"{LOCAL}{digest.hexdigest()[:16]}"


# --- SQuAD --------------------------------------------------------------------------------------


def _read_articles(file: Path) -> list[Any] | None:
    """Read the articles of a file in SQuAD's form (Rajpurkar et al. 2016); None for any other
    file."""
    if detect_form(file) != "json":
        return None
    with open_unpacked(file) as source:
        text = decode(source.read(), str(file))
    content = parse_json(text, str(file), f"give {_FORMS}", checked=False)
    articles = content.get("data") if isinstance(content, dict) else None
    return articles if isinstance(articles, list) else None


def _collect_articles(file: Path, articles: Sequence[Any]) -> tuple[BeirDataset, int]:
    """Collect the contexts as documents. Questions without an answer in their context (SQuAD 2.0)
    are left out, with a warning that counts them.

    Returns:
        The data set, and how many questions have an empty list of answers without being marked as
        impossible.
    """
    collector, unanswerable, empty = _Collector(), 0, 0
    for title, where, paragraph in _list_paragraphs(file, articles):
        context = _require_text(paragraph, "context", where)
        document = collector.add_passage(title, context)
        for number, entry in enumerate(_require_list(paragraph, "qas", where)):
            if isinstance(entry, dict) and entry.get("is_impossible") is True:
                unanswerable += 1
            elif isinstance(entry, dict) and entry.get("answers") == []:
                empty += 1
            else:
                question = _require_text(entry, "question", f"{where}, question {number + 1}")
                collector.judge(question, document, 1)
    if unanswerable + empty:
        count = unanswerable + empty
        _log.warning("%s: %d questions without an answer are left out", file, count)
    data, _ = collector.finish(file)
    return data, empty


def _list_paragraphs(file: Path, articles: Sequence[Any]) -> Iterator[tuple[str, str, Any]]:
    for number, article in enumerate(articles, 1):
        where = f"{file}, article {number}"
        for place, paragraph in enumerate(_require_list(article, "paragraphs", where), 1):
            yield str(article.get("title") or ""), f"{where}, paragraph {place}", paragraph


def _require_list(value: Any, key: str, where: str) -> list[Any]:
    inner = value.get(key) if isinstance(value, dict) else None
    if not isinstance(inner, list):
        raise UserError(where, f"has no list {key!r}", "write it as SQuAD's files do")
    return inner


def _require_text(value: Any, key: str, where: str) -> str:
    inner = value.get(key) if isinstance(value, dict) else None
    if not isinstance(inner, str) or not inner.strip():
        raise UserError(where, f"has no text {key!r}", "write it as SQuAD's files do")
    return inner.strip()


# --- tables -------------------------------------------------------------------------------------


def _find_columns(
    file: Path, columns: LabelledColumns, corpus: CorpusSource | None
) -> LabelledColumns:
    """Find the columns: those that were named, else the usual ones. The first row has those of
    question and answer."""
    first, names = _read_names(file)
    named = columns.model_dump()
    absent = {part for part in _OPTIONAL if named[part] == _NONE and _NONE not in names}
    for part, name in named.items():
        if part not in absent and name is not None and name not in names:
            raise _explain_missing_column(file, names, f"has no column {name!r}", part)
    chosen = {
        part: name or _find_usual_name(names if part in _OPTIONAL else first, part)
        for part, name in named.items()
    } | dict.fromkeys(absent)
    if named["document"] is not None and named["passage"] is None:
        chosen["passage"] = None
    elif named["passage"] is not None:
        chosen["document"] = None
    if chosen["question"] is None:
        raise _explain_missing_column(
            file, names, "has no column that is known to hold questions", "question"
        )
    if chosen["passage"] is None and chosen["document"] is None:
        what = "has no column that is known to hold passages or document ids"
        raise _explain_missing_column(file, names, what, "passage")
    resolved = LabelledColumns.model_validate(chosen)
    if chosen["passage"] is not None and named["passage"] is None:
        resolved = settle_answers(file, resolved, corpus)
    used = ", ".join(f"{part}={name}" for part, name in resolved if name is not None)
    _log_once("%s: columns %s", file, used)
    return resolved


def _read_names(file: Path) -> tuple[list[str], list[str]]:
    """Read the names of the columns: those of the first row, and those of all. Rows of JSON may
    each have others.

    Raises:
        UserError: if there is no row, or one cannot be read.
    """
    faults = RowFaults()
    rows = read_table(file, faults)
    first = next(rows, None)
    names = dict.fromkeys(first[1]) if first is not None else {}
    if detect_form(file) in ("json", "jsonl"):
        for _, row in rows:
            names.update(dict.fromkeys(row))
    faults.raise_any()
    if first is None:
        raise UserError(str(file), "holds no row", f"give {_FORMS}")
    return list(first[1]), list(names)


def _find_usual_name(names: Sequence[str], part: str) -> str | None:
    by_name = {name.casefold(): name for name in reversed(names)}
    usual: str = getattr(_USUAL, part)
    return next((by_name[name] for name in usual.split() if name in by_name), None)


def _explain_missing_column(file: Path, names: Sequence[str], what: str, part: str) -> UserError:
    return UserError(
        str(file),
        f"{what}; its columns are {names}",
        f"name it by --columns {part}=NAME, or in evaluate.columns",
    )


def _collect_passages(file: Path, columns: LabelledColumns) -> tuple[BeirDataset, int]:
    collector = _Collector()
    for row in _read_rows(file, columns, columns.passage):
        for passage in row.answers:
            document = collector.add_passage(row.title, passage)
            collector.judge(row.question, document, row.score)
    return collector.finish(file)


def _collect_ids(
    file: Path, columns: LabelledColumns, corpus: CorpusSource
) -> tuple[BeirDataset, int]:
    documents, sections = _read_corpus(corpus)
    collector, unknown = _Collector(documents), []
    count = 0
    for row in _read_rows(file, columns, columns.document):
        for id_ in row.answers:
            count += 1
            known = [id_] if id_ in documents else sections.get(id_, [])
            if not known:
                unknown.append(f"{id_!r} in {row.where.rpartition(', ')[2]}")
            for document in known:
                collector.judge(row.question, document, row.score)
    if unknown:
        named = ", ".join(unknown[:_NAMED]) + (", ..." if len(unknown) > _NAMED else "")
        if len(unknown) == count:
            what = f"names no document of {corpus.where}, but {named}"
            raise UserError(str(file), what, "give the ids that the corpus has")
        _log.warning(
            "%s: %d of %d judgements name a document that %s does not hold (%s): left out",
            file, len(unknown), count, corpus.where, named,
        )  # fmt: skip
    return collector.finish(file)


def _read_corpus(corpus: CorpusSource) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Read the documents by id, and the ids of a text file's sections by the file's own name."""
    documents: dict[str, dict[str, str]] = {}
    sections: dict[str, list[str]] = {}
    for document in corpus.read():
        if isinstance(document, Document):
            documents[document.id] = {"title": document.title, "text": document.text}
            if document.whole:
                sections.setdefault(document.whole, []).append(document.id)
    return documents, sections


def _read_rows(file: Path, columns: LabelledColumns, answers: str | None) -> Iterator[LabelledRow]:
    """Yield a table's rows as questions with their answers; empty ones of a spreadsheet are passed
    over.

    Raises:
        UserError: after the last row, naming those without a question, an answer, or a score that
            is a whole number.
    """
    faults = RowFaults()
    for number, row in read_table(file, faults):
        if is_blank(row):
            continue
        where = f"{file}, row {number}"
        try:
            yield LabelledRow(
                where,
                _read_text(where, row, columns.question),
                _read_answers(where, row, answers),
                str(row.get(columns.title or "") or "").strip(),
                _read_score(where, row, columns.score),
            )
        except UserError as fault:
            faults.add(fault)
    faults.raise_any()


def _read_text(where: str, row: Mapping[str, Any], column: str | None) -> str:
    value = row.get(column or "")
    if not isinstance(value, str) or not value.strip():
        raise UserError(where, f"has no text in {column!r}", "fill or delete the row")
    return value.strip()


def _read_answers(where: str, row: Mapping[str, Any], column: str | None) -> list[str]:
    value = row.get(column or "")
    values = value if isinstance(value, list) else [value]
    texts = [
        str(one).strip()
        for one in values
        if isinstance(one, str | int) and not isinstance(one, bool)
    ]
    if not texts or len(texts) < len(values) or not all(texts):
        what = f"has no text, id or list of them in {column!r}, but {describe(value)}"
        raise UserError(where, what, "fill or delete the row")
    return texts


def _read_score(where: str, row: Mapping[str, Any], column: str | None) -> int:
    value = row.get(column) if column is not None else 1
    if not re.fullmatch(r"[0-9]{1,9}(\.0{1,9})?", str(value).strip()):
        what = f"has {describe(value)} as score in {column!r}"
        remedy = (
            f"write a whole number from 0; if it is no relevance, --columns score={_NONE} (in a "
            f"recipe evaluate.columns.score: {_NONE}) counts each row 1"
        )
        raise UserError(where, what, remedy)
    return int(float(str(value)))
