"""Gather the passages of a corpus in two passes: all of them to a file on disk, then those that are
kept from there. Of a corpus of any size a few passages are in memory at a time, and 24 bytes of
each."""

import heapq
import random
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distill.corpus.cut import CutDocument, digest_passage
from distill.corpus.faults import SkippedRows
from distill.corpus.held_out import holds_documents_out, require_both_parts
from distill.corpus.readers.rows import NO_TEXT, REPEATED, CorpusSource, SkippedRow
from distill.corpus.reading import open_reading
from distill.corpus.spool import PassageSpool, SpooledPassages
from distill.errors import UserError
from distill.recipe import Corpus
from distill.runtime.progress import Progress
from distill.store.passage_lookup import PassageNumbers
from distill.store.tables import Row
from distill.workers.local import LOCAL
from distill.workers.protocol import Workers

_REMEDIES = {
    "short": "short: fewer words than corpus.min_words, title and text together, where letters of "
    "Chinese, Japanese, Thai and their like count as parts of words; lower it (0 keeps all)",
    NO_TEXT: "no text: the columns of text and title are empty; name others in corpus.text_column "
    "and corpus.title_column",
    REPEATED: "repeated: the rows have one id and one text",
    "duplicate": "duplicate: the same title and text under several ids",
}
"""What to do where nothing is left, for each reason why passages are dropped."""


@dataclass
class GatheredPassages:
    """The passages that a corpus keeps, those of its held-out documents, and what was left out."""

    kept: SpooledPassages
    held_out: SpooledPassages
    counts: Counter[str]
    dropped: "DroppedPassages | None" = None
    execution: dict[str, Any] = field(default_factory=dict)
    """Who read the corpus, where that is not this process alone; see `Team.describe`."""


class DroppedPassages:
    """The rows of the passages that were left out, in the corpus' order, on disk."""

    def __init__(self, draft: "_Draft", duplicates: PassageNumbers) -> None:
        self._draft, self._duplicates = draft, duplicates
        self._before = np.frombuffer(draft.dropped_before, np.int64)

    def read(self, start: int, stop: int | None) -> list[Row]:
        """Read those among the spool's passages from one number up to another, or to the end.
        Those that were left out at once come before the next one that was not."""
        draft = self._draft
        early = _find_range(self._before, start, stop)
        late = self._duplicates[_find_range(self._duplicates, start, stop)]
        at_once = (
            (number, _make_dropped(row, row["source"]))
            for number, row in zip(
                self._before[early].tolist(),
                draft.dropped.read(np.arange(early.start, early.stop)),
                strict=True,
            )
        )
        later = (
            (number, _make_dropped(row, "duplicate"))
            for number, row in zip(late.tolist(), draft.spool.read(late), strict=True)
        )
        return [row for _, row in heapq.merge(at_once, later, key=lambda one: one[0])]


def _find_range(numbers: PassageNumbers, start: int, stop: int | None) -> slice:
    """Find the places of the numbers, which rise, from `start` up to `stop`, or to the end."""
    last = len(numbers) if stop is None else int(np.searchsorted(numbers, stop))
    return slice(int(np.searchsorted(numbers, start)), last)


def _make_dropped(row: Row, reason: str) -> Row:
    return {"item_id": row["passage_id"], "reason": reason, "text": row["text"]}


class PassageDeduplicator:
    """Which passages came before, by a 16-byte hash of normalised title and text."""

    def __init__(self) -> None:
        self._hashes: set[bytes] = set()

    def is_new(self, title: str, text: str) -> bool:
        """Return whether no passage before read the same."""
        mark = digest_passage(title, text)
        if mark in self._hashes:
            return False
        self._hashes.add(mark)
        return True


def gather_passages(
    source: CorpusSource, corpus: Corpus, seed: int, folder: Path, workers: Workers = LOCAL
) -> GatheredPassages:
    """Gather the passages of a source by the rules of the section `corpus` (see `make_passages`).

    Args:
        folder: where the file on disk is; nothing is left in it.
        workers: who reads text files; what else there is this process reads.

    Raises:
        UserError: for a source that cannot be read, is malformed, or of which nothing is left.
    """
    draft = _spool_pieces(source, corpus, seed, folder, workers)
    spool, counts = draft.spool, draft.counts
    first = spool.find_first()
    numbers = np.flatnonzero(first)
    duplicates = np.flatnonzero(~first)
    if len(duplicates):
        counts["dropped duplicate"] = len(duplicates)
    counts.update(source.counts())
    _require_some(source, len(numbers), counts)
    _refuse_repeated(source, spool.find_repeated_id(numbers))
    draft.left_out.warn(source.where)
    limit = corpus.limit
    if limit is not None and limit < len(numbers):
        counts["over limit"] = len(numbers) - limit
        drawn = random.Random(seed).sample(range(len(numbers)), limit)
        numbers = numbers[np.sort(np.array(drawn, np.int64))]
    held_out = numbers[:0]
    if holds_documents_out(corpus):
        is_out = np.frombuffer(draft.held_out, bool)[numbers]
        held_out, numbers = numbers[is_out], numbers[~is_out]
        require_both_parts(source.where, corpus, len(held_out), len(numbers), len(duplicates))
        counts["held out"] = len(held_out)
    counts["kept"] = len(numbers)
    return GatheredPassages(
        SpooledPassages(spool, numbers),
        SpooledPassages(spool, held_out),
        counts,
        DroppedPassages(draft, duplicates),
        draft.execution,
    )


@dataclass
class _Draft:
    """All pieces of a source, duplicates among them, and what was left out at once."""

    spool: PassageSpool
    dropped: PassageSpool
    """What was left out at once: the column `source` says why."""
    dropped_before: "array[int]" = field(default_factory=lambda: array("q"))
    """Of each of them, how many pieces of the spool come before it."""
    counts: Counter[str] = field(default_factory=Counter)
    left_out: SkippedRows = field(default_factory=SkippedRows)
    held_out: bytearray = field(default_factory=bytearray)
    """Whether each piece is held out."""

    execution: dict[str, Any] = field(default_factory=dict)
    """Who read it, where that is not this process alone."""

    def take(self, document: CutDocument) -> None:
        """Spool a document's pieces."""
        if document.is_repaired:
            self.counts["half surrogates replaced"] += 1
            self.left_out.add("half a surrogate pair, replaced", f"id {document.id!r}")
        if len(document.pieces) != 1:
            self.counts["split"] += 1
        for piece in document.pieces:
            if piece.is_short:
                self.drop(piece.id, "short", piece.text)
                continue
            row = {"passage_id": piece.id, "title": document.title, "text": piece.text}
            row["source"] = document.source
            self.spool.add(row, piece.digest)
            self.held_out.append(piece.is_held_out)

    def skip(self, skipped: SkippedRow) -> None:
        """Count a row, or a file, that gives no document."""
        self.drop(skipped.id, skipped.reason, "")
        self.left_out.add(skipped.reason, skipped.place, skipped.unit)

    def drop(self, id_: str, reason: str, text: str) -> None:
        """Spool what is left out at once."""
        self.counts[f"dropped {reason}"] += 1
        row = {"passage_id": id_, "title": "", "text": text, "source": reason}
        self.dropped.add(row, bytes(16))
        self.dropped_before.append(len(self.spool))


def _spool_pieces(
    source: CorpusSource, corpus: Corpus, seed: int, folder: Path, workers: Workers
) -> _Draft:
    draft = _Draft(PassageSpool(folder), PassageSpool(folder))
    with (
        open_reading(source, corpus, seed, folder, workers) as reading,
        # Large PDF files take minutes, before there is a passage.
        Progress("reading the corpus", None, "documents", tell=reading.tell) as bar,
    ):
        for document in reading.documents:
            draft.counts["read"] += 1
            if isinstance(document, SkippedRow):
                draft.skip(document)
                continue
            draft.take(document)
            bar.advance()
        draft.execution = reading.describe()
    draft.spool.close()
    draft.dropped.close()
    return draft


def _require_some(source: CorpusSource, kept: int, counts: Counter[str]) -> None:
    if kept:
        return
    dropped = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    reasons = [reason for reason in _REMEDIES if counts[f"dropped {reason}"]]
    raise UserError(
        source.where,
        f"gives no passage ({dropped or 'it is empty'})",
        "; ".join(_REMEDIES[reason] for reason in reasons) or "give a corpus with text",
    )


def _refuse_repeated(source: CorpusSource, repeated: str | None) -> None:
    """Refuse a document that is called what a piece of another is: "a#0"."""
    if repeated is not None:
        raise UserError(
            source.where,
            f"the id {repeated!r} belongs to a document and to a piece of a split one",
            "rename the document",
        )
