"""Which column of a labelled table holds the answers: ids of documents, or passages."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.corpus.faults import RowFaults
from distill.corpus.readers.rows import CorpusSource, Document
from distill.corpus.readers.tables import read_table
from distill.recipe import LabelledColumns
from distill.text.normalize import normalize_text

_log = logging.getLogger(__name__)
_LONGEST_ID = 300
"""Characters; a column with a longer value is not looked for among the ids of a corpus, which may
be long to read."""


def settle_answers(
    file: Path, found: LabelledColumns, corpus: CorpusSource | None
) -> LabelledColumns:
    """Keep one of the columns of answers that were found by their usual names, and warn of the
    other one. Ids go before passages where the corpus has all of them, and not by chance: it has
    ids of its own, or the documents that they name hold the passages. A column of passages all of
    whose values are ids is one of ids.

    Args:
        found: a column of passages, and perhaps one of document ids.
        corpus: the documents that ids may name; without one passages go first.
    """
    if corpus is None:
        return found.model_copy(update={"document": None})
    doubt = _doubt_ids(file, found, corpus) if found.document is not None else None
    if found.document is not None and doubt is None:
        _log.warning(
            "%s: the column %r is set aside, for %r holds ids of documents of %s, which is "
            "searched; to search the passages instead: --columns passage=%s",
            file, found.passage, found.document, corpus.where, found.passage,
        )  # fmt: skip
        return found.model_copy(update={"passage": None})
    values = _list_answers(file, found.passage)
    if values and _find_known(values, corpus) == values:
        _log.warning(
            "%s: all values of the column %r are ids of documents of %s, which is searched; "
            "name the column as passage for texts: --columns passage=%s",
            file, found.passage, corpus.where, found.passage,
        )  # fmt: skip
        return found.model_copy(update={"document": found.passage, "passage": None})
    if doubt is not None:
        _log.warning(
            "%s: the column %r is set aside, and the passages in %r are searched, for %s; to "
            "search %s instead: --columns document=%s",
            file, found.document, found.passage, doubt, corpus.where, found.document,
        )  # fmt: skip
    return found.model_copy(update={"document": None})


def _doubt_ids(file: Path, found: LabelledColumns, corpus: CorpusSource) -> str | None:
    """Say why the values beside passages may be no ids of this corpus; None if they are its ids."""
    ids = _list_answers(file, found.document)
    texts, are_numbers = _read_named(ids, corpus)
    unknown = sorted(ids - texts.keys())
    if unknown or not ids:
        named = f"{unknown[0][:40]!r} among them" if unknown else "it has none"
        return f"not all of its values are ids of documents of {corpus.where} ({named})"
    if are_numbers and not _hold_passages(file, found, texts):
        return (
            f"the ids of {corpus.where} are but the numbers of its rows, and the rows that it "
            "names do not hold the passages"
        )
    return None


def _read_named(ids: set[str], corpus: CorpusSource) -> tuple[dict[str, str], bool]:
    """Read the documents, or files whose sections are documents, that are named.

    Returns:
        The text of each one, normalized, and whether all ids of the corpus are numbers up to that
        of its rows, which small numbers of any other meaning are too.
    """
    texts: dict[str, str] = {}
    rows, highest = 0, 0.0
    if any(len(value) > _LONGEST_ID for value in ids):
        return texts, False
    for document in corpus.read():
        rows += 1
        if isinstance(document, Document):
            is_number = re.fullmatch(r"[0-9]{1,15}", document.id)
            highest = max(highest, int(document.id) if is_number else float("inf"))
            for id_ in ids & {document.id, document.whole}:
                text = f"{document.title} {document.text}"
                texts[id_] = f"{texts.get(id_, '')} {normalize_text(text)}"
    return texts, highest <= rows


def _hold_passages(file: Path, found: LabelledColumns, texts: Mapping[str, str]) -> bool:
    """Return whether in each row a document that is named there holds a passage of the row."""
    for _, row in read_table(file, RowFaults()):
        passages = [normalize_text(passage) for passage in _list_values(row, found.passage)]
        named = [texts[id_] for id_ in _list_values(row, found.document)]
        if named and not any(passage in text for passage in passages for text in named):
            return False
    return True


def _list_answers(file: Path, column: str | None) -> set[str]:
    """List what a column holds in all rows."""
    return {
        value for _, row in read_table(file, RowFaults()) for value in _list_values(row, column)
    }


def _list_values(row: Mapping[str, Any], column: str | None) -> list[str]:
    """List what a row holds in a column: a text or whole number, or several in a list."""
    value = row.get(column or "")
    several = value if isinstance(value, list) else [value]
    texts = [str(one).strip() for one in several if one is not None]
    return [text for text in texts if text]


def _find_known(values: set[str], corpus: CorpusSource) -> set[str]:
    """Find the values that are ids of documents, or of files whose sections are documents."""
    known = set[str]()
    if any(len(value) > _LONGEST_ID for value in values):
        return known
    for document in corpus.read():
        if isinstance(document, Document):
            known |= values & {document.id, document.whole}
        if known == values:
            break
    return known
