"""Which column of a labelled table holds the answers: ids of documents, or passages."""

import logging
from pathlib import Path

from distill.corpus.faults import RowFaults
from distill.corpus.readers.rows import CorpusSource, Document
from distill.corpus.readers.tables import read_table
from distill.recipe import LabelledColumns

_log = logging.getLogger(__name__)
_LONGEST_ID = 300
"""Characters; a column with a longer value is not looked for among the ids of a corpus, which may
be long to read."""


def settle_answers(
    file: Path, found: LabelledColumns, corpus: CorpusSource | None
) -> LabelledColumns:
    """Keep one of the columns of answers that were found by their usual names. Ids go before
    passages where the corpus has a document that they name; so does a column of passages all of
    whose values are ids, which is said in a warning.

    Args:
        found: a column of passages, and perhaps one of document ids.
        corpus: the documents that ids may name; without one passages go first.
    """
    if corpus is not None and found.document is not None:
        values = _list_answers(file, found.document)
        if _find_known(values, corpus):
            return found.model_copy(update={"passage": None})
    if corpus is not None and found.passage is not None:
        values = _list_answers(file, found.passage)
        if values and _find_known(values, corpus) == values:
            _log.warning(
                "%s: all values of the column %r are ids of documents of %s, which is searched; "
                "name the column as passage for texts: --columns passage=%s",
                file, found.passage, corpus.where, found.passage,
            )  # fmt: skip
            return found.model_copy(update={"document": found.passage, "passage": None})
    return found.model_copy(update={"document": None})


def _list_answers(file: Path, column: str) -> set[str]:
    """List what a column holds: in each row a text or whole number, or a list of them."""
    values = set[str]()
    for _, row in read_table(file, RowFaults()):
        value = row.get(column)
        several = value if isinstance(value, list) else [value]
        values.update(str(one).strip() for one in several if one is not None)
    return values - {""}


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
