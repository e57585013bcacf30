"""A survey of the texts at a path: their form, and how many documents, passages and tokens in which
language."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from distill.corpus.faults import RowFaults, SkippedRows
from distill.corpus.held_out import SECTION_PASSAGES
from distill.corpus.readers.auto import list_corpus_files, open_auto
from distill.corpus.readers.rows import Columns, CorpusSource, Document, make_relative_name
from distill.corpus.readers.tables import COLUMN_ROWS, detect_form, list_columns, read_table
from distill.corpus.readers.text_files import UNREADABLE, get_ending
from distill.corpus.split import estimate_tokens, split_text
from distill.errors import UserError
from distill.generate.known_item.items import can_be_searched_for
from distill.runtime.progress import show_activity
from distill.start.table_sizes import estimate_rows, measure_files
from distill.store.tables import Row

_SAMPLE = 2000
"""Documents that are read; the amounts of a larger corpus are estimated from them."""
_SAMPLE_CHARACTERS = 2_000_000
"""Of the documents that are read."""
_MANY = 1000
"""Whole documents of which enough can be held out, so that their sections do not matter."""
_LANGUAGE_SAMPLE = 200
"""Documents by which the language is found."""
_LANGUAGE_CHARACTERS = 1000
"""Beginning of a document that tells its language."""
_ONE_LANGUAGE = 0.9
"""Share of the characters from which a corpus is in one language."""
_LEAST_TEXT = 20
"""Characters that the values of a text column have on average at least."""
_LONGEST_TITLE = 200
"""Characters that the values of a title column have on average at most."""


@dataclass(frozen=True)
class CorpusSurvey:
    """A corpus as `distill init` sees it. All counts are estimates where
    `is_whole` is false."""

    path: Path
    form: str
    columns: Columns
    documents: int
    whole_documents: int
    """Files of texts, whose sections are documents of their own, or rows of tables."""
    searchable: int
    """Whole documents that can be searched for by a title or sentence of their own."""
    sections: int
    """Parts of the documents that can be held out by themselves; not counted of many documents."""
    searchable_sections: int
    passages: int
    tokens: int
    may_be_unreadable: bool
    """Whether files of texts cannot be read, or were not all looked at."""
    left_out: str
    """How many files and rows give no text, why, and which; empty where all do. Of a large corpus
    those among the first documents."""
    language: str | None
    """ISO 639-1, such as en; None where the texts are in several languages."""
    is_whole: bool

    @property
    def size(self) -> str:
        """The numbers of documents (files of texts with their sections, where they have several),
        and of passages."""
        parts = f"{self.documents:,} documents"
        if self.whole_documents < self.documents:
            parts = f"{self.whole_documents:,} files, {self.documents:,} sections"
        return f"{'' if self.is_whole else 'about '}{parts}, {self.passages:,} passages"


@show_activity("looking at the corpus")
def survey_corpus(path: Path, passage_tokens: int) -> CorpusSurvey:
    """Look at a file or folder of texts or rows.

    Args:
        passage_tokens: the longest passage, in estimated tokens.

    Raises:
        UserError: if nothing there can be read; of a table without a column of text, listing its
            columns.
    """
    source, columns = _open(path)
    files = list_corpus_files(path)
    sample = _draw_sample(source, path, files)
    texts = [document.text for document in sample.documents]
    if not texts:
        raise UserError(str(path), "holds no document with a text", "name another path")
    counts = _count(sample, passage_tokens)
    is_of_files = sample.documents[0].whole != ""
    return CorpusSurvey(
        path=path,
        form=_describe_form(path, files),
        columns=columns,
        documents=round(len(texts) * sample.factor),
        whole_documents=counts.whole_documents,
        searchable=counts.searchable,
        sections=counts.sections,
        searchable_sections=counts.searchable_sections,
        passages=counts.passages,
        tokens=round(sum(map(estimate_tokens, texts)) * sample.factor),
        may_be_unreadable=sample.has_unreadable or (is_of_files and not sample.is_whole),
        left_out="; ".join(sample.left_out.describe(str(path))),
        language=_find_language(texts),
        is_whole=sample.is_whole,
    )


class SurveyCounts(NamedTuple):
    """The numbers of documents and passages of a corpus; estimates where it is large. `searchable`
    are whole documents that can be searched for by a title or sentence of their own; of `passages`
    that read the same one counts. `sections` are the parts of documents that `corpus.hold_out_by:
    section` holds out; of many documents they are not counted."""

    whole_documents: int
    searchable: int
    passages: int
    sections: int = 0
    searchable_sections: int = 0


def count_corpus(source: CorpusSource, path: Path | None, passage_tokens: int) -> SurveyCounts:
    """Count the documents and passages of an open corpus, of a large one by its first documents.

    Args:
        path: where it lies; None for one that does not lie in files, whose sample is no share of a
            known whole: its counts are then a lower bound.
        passage_tokens: the longest passage, in estimated tokens.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        files = [] if path is None else list_corpus_files(path)
    except UserError:  # `auto` finds no single form there; the source was opened as the recipe says
        files = []
    return _count(_draw_sample(source, path, files), passage_tokens)


def expect_drawn(documents: int, passages: int, limit: int | None) -> int:
    """Return of how many documents passages may be expected to be among those that `corpus.limit`
    draws.

    >>> expect_drawn(100, 1000, 20), expect_drawn(100, 100, 20), expect_drawn(100, 1000, None)
    (18, 20, 100)
    """
    if limit is None or limit >= passages:
        return documents
    return round(documents * (1 - (1 - limit / passages) ** (passages / max(1, documents))))


class _Sample(NamedTuple):
    """The first documents of a corpus; it holds `factor` times as many, by the size of its files or
    the number of their rows.
    What gives no text was left out."""

    documents: list[Document]
    is_whole: bool
    factor: float
    left_out: SkippedRows
    has_unreadable: bool


def _draw_sample(source: CorpusSource, path: Path | None, files: list[Path]) -> _Sample:
    left_out = SkippedRows()
    documents = _pass_over_skipped(source, left_out)
    sample = list(_sample(documents))
    is_whole = next(documents, None) is None
    factor = 1.0
    if path is not None and files and sample and not is_whole:
        if sample[0].whole:
            read = _list_read_files(path, files, sample)
            factor = measure_files(files) / max(1, measure_files(read))
        else:
            factor = max(1.0, estimate_rows(files) / (len(sample) + left_out.count))
    return _Sample(sample, is_whole, factor, left_out, left_out.has(UNREADABLE))


def _count(sample: _Sample, passage_tokens: int) -> SurveyCounts:
    documents, factor = sample.documents, sample.factor
    pieces = [split_document(document, passage_tokens) for document in documents]
    wholes = len({one.whole or one.id for one in documents})
    sections = [] if wholes * factor >= _MANY else [*_cut(pieces)]
    return SurveyCounts(
        round(wholes * factor),
        round(_count_searchable(documents, pieces) * factor),
        round(len({row["text"] for rows in pieces for row in rows}) * factor),
        round(len(sections) * factor),
        round(sum(map(can_be_searched_for, sections)) * factor),
    )


def split_document(document: Document, passage_tokens: int) -> list[Row]:
    """Split a document into rows of passages."""
    return [
        {"passage_id": str(number), "title": document.title, "text": text}
        for number, text in enumerate(split_text(document.text, passage_tokens))
    ]


def _cut(pieces: list[list[Row]]) -> Iterator[list[Row]]:
    """Cut documents into the sections that are held out together."""
    for rows in pieces:
        for start in range(0, len(rows), SECTION_PASSAGES):
            yield rows[start : start + SECTION_PASSAGES]


def _pass_over_skipped(source: CorpusSource, left_out: SkippedRows) -> Iterator[Document]:
    """Yield the documents of a source; files and rows that give none are counted."""
    for document in source.read():
        if isinstance(document, Document):
            yield document
        else:
            left_out.add(document.reason, document.place, document.unit)


def _count_searchable(sample: list[Document], pieces: list[list[Row]]) -> int:
    """Count the whole documents of which a section gives a query for known-item search. That a
    title or sentence may stand elsewhere, too, is not looked at."""
    wholes = set[str]()
    for document, rows in zip(sample, pieces, strict=True):
        whole = document.whole or document.id
        if rows and whole not in wholes and can_be_searched_for(rows):
            wholes.add(whole)
    return len(wholes)


def _sample(documents: Iterator[Document]) -> Iterator[Document]:
    """Take the first documents, up to a number of them and of characters."""
    characters = 0
    for document in itertools.islice(documents, _SAMPLE):
        yield document
        characters += len(document.text)
        if characters > _SAMPLE_CHARACTERS:
            return


def _list_read_files(path: Path, files: list[Path], sample: list[Document]) -> list[Path]:
    """List the files of texts that the sample was read from."""
    folder = path if path.is_dir() else path.parent
    wholes = {document.whole for document in sample}
    return [file for file in files if make_relative_name(file, folder) in wholes]


def _describe_form(path: Path, files: list[Path]) -> str:
    """Describe the form in a few words, such as `a folder of 120 .md and 3 .html files`."""
    if path.is_file():
        return f"a {path.suffix or 'text'} file"
    kinds = Counter(get_ending(file) or "(no ending)" for file in files)
    named = [f"{count:,} {kind}" for kind, count in kinds.most_common(3)]
    listed = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    return f"a folder of {listed} files"


def _find_language(texts: Sequence[str]) -> str | None:
    """Find the language of nine in ten characters of a sample: of short texts it is often
    mistaken."""
    characters = count_languages(texts)
    language, count = characters.most_common(1)[0]
    return language if count >= _ONE_LANGUAGE * characters.total() else None


def count_languages(texts: Sequence[str]) -> Counter[str]:
    """Count the characters of a sample of texts, at least one, by their language (ISO 639-1)."""
    from distill.text.languages import open_identifier  # a second for its tables

    identifier = open_identifier()
    characters = Counter[str]()
    for text in texts[:: max(1, len(texts) // _LANGUAGE_SAMPLE)]:
        beginning = text[:_LANGUAGE_CHARACTERS]
        characters[str(identifier.classify(beginning)[0])] += len(beginning)
    return characters


def _open(path: Path) -> tuple[CorpusSource, Columns]:
    """Open a corpus. A table's columns whose names are not among the usual ones are found by what
    they hold; the default ones stand for those that the reader finds by itself.

    Raises:
        UserError: as the reader does: listing the columns, where none holds texts.
    """
    try:
        return open_auto(path, Columns(), skips=True), Columns()
    except UserError as fault:
        tables = [file for file in list_corpus_files(path) if detect_form(file) is not None]
        columns = guess_columns(tables[0]) if tables else None
        if columns is None:
            raise
        try:
            return open_auto(path, columns, skips=True), columns
        except UserError:
            raise fault from None


def guess_columns(file: Path) -> Columns | None:
    """Guess which columns of a table hold text, title and id, by the first rows: the text has the
    longest values, an id is never empty and never the same twice, a title is short and comes before
    the text. None where no column holds texts, or the file cannot be read."""
    try:
        rows = [row for _, row in itertools.islice(read_table(file, RowFaults()), COLUMN_ROWS)]
    except UserError:
        return None
    values = {name: [row.get(name) for row in rows] for name in list_columns(rows)}
    if not values:
        return None
    lengths = {
        name: sum(len(value) for value in column if isinstance(value, str)) / len(rows)
        for name, column in values.items()
    }
    text = max(lengths, key=lambda name: lengths[name])
    if lengths[text] < _LEAST_TEXT:
        return None
    ids = [
        name
        for name, column in values.items()
        if name != text
        and " " not in str(column[0])
        and None not in column
        and len({str(value) for value in column}) == len(rows)
    ]
    titles = [
        name
        for name in values
        if name not in (text, *ids[:1])
        and 0 < lengths[name] <= _LONGEST_TITLE
        and any(" " in str(value) for value in values[name])
    ]
    default = Columns()
    return Columns(ids[0] if ids else default.id, titles[0] if titles else default.title, text)
