"""BM25 (Robertson et al. 1994, in Lucene's form) over the passages: words where vectors see
meaning. bm25s computes every word's scores once, when the index is made."""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from scipy.sparse import csr_array

from distill.embed.encoder import Vectors
from distill.files.atomic import open_atomic_folder
from distill.files.checksums import discard_if_damaged, write_checksums
from distill.recipe import BM25
from distill.retrieve.exact import NO_RESULT, RowNumbers
from distill.retrieve.terms import TERMS_RULE, TermSplitter, make_term_splitter
from distill.runtime.progress import Progress
from distill.store.passages import PassageReader, PassageTexts
from distill.store.run import Run
from distill.store.stage import Stage, fingerprint
from distill.workers.node_copy import fetch_if_copied


class BM25Index:
    """A BM25 index of some texts, in memory or stored."""

    def __init__(self, index: bm25s.BM25, terms: TermSplitter) -> None:
        self._bm25 = index
        self._terms = terms

    @property
    def vocabulary(self) -> dict[str, int]:
        """The row of each term in `matrix`."""
        terms = len(self._bm25.scores["indptr"]) - 1
        return {term: row for term, row in self._bm25.vocab_dict.items() if row < terms}

    @property
    def matrix(self) -> csr_array:
        """The score that each term adds to each passage: (terms, passages), float32."""
        scores = self._bm25.scores
        shape = (len(scores["indptr"]) - 1, int(scores["num_docs"]))
        return csr_array((scores["data"], scores["indices"], scores["indptr"]), shape=shape)

    def score(self, query: str) -> Vectors:
        """Compute the BM25 score of every passage: (passages,) float32, 0 for those that share no
        word."""
        ids = self._bm25.get_tokens_ids(self._terms(query))
        scores: Vectors = self._bm25.get_scores_from_ids(ids)
        return scores

    def score_rows(self, query: str, rows: Sequence[int]) -> Vectors:
        """Compute the BM25 scores of these passages alone, (rows,) float32: those of `score`, to
        the last bit. Of each word's passages, which are in order, only theirs are looked up."""
        starts, numbers, values = (self._bm25.scores[of] for of in ("indptr", "indices", "data"))
        wanted = np.asarray(rows, numbers.dtype)  # of another, all of `numbers` would be copied
        scores = np.zeros(len(wanted), np.float32)
        for term in self._bm25.get_tokens_ids(self._terms(query)):
            start, end = starts[term], starts[term + 1]
            places = start + np.searchsorted(numbers[start:end], wanted)
            inside = np.flatnonzero(places < end)
            same = inside[numbers[places[inside]] == wanted[inside]]
            scores[same] += values[places[same]]
        return scores

    def search(self, queries: Sequence[str], k: int) -> tuple[Vectors, RowNumbers]:
        """Find the k best passages that share a word with each query. Ties go to the earlier row;
        `NO_RESULT` fills lists that are shorter."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), NO_RESULT, np.int64)
        for place, query in enumerate(queries):
            best, numbers = _select_best(self.score(query), k)
            scores[place, : len(best)], rows[place, : len(best)] = best, numbers
        return scores, rows


class StoredBM25Index(BM25Index):
    """A BM25 index in a folder. Its arrays are memory-mapped; the vocabulary is not. A worker that
    it is sent to opens the folder."""

    def __init__(self, folder: Path, language: str | None) -> None:
        fetch_if_copied(folder)
        super().__init__(bm25s.BM25.load(folder, mmap=True), make_term_splitter(language))
        self._source = folder, language

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredBM25Index, self._source


def open_bm25(run: Run, passages: Stage, settings: BM25, *others: Stage) -> BM25Index:
    """Open the index of a run's passages, made in the run's folder if it is not there.

    Args:
        others: stages whose passages follow, in one index.

    Raises:
        UserError: if the stemmer of the settings' language is not installed.
    """
    terms = make_term_splitter(settings.language)
    marked = settings.model_dump() | {"terms": TERMS_RULE}
    stages = [passages, *others]
    mark = fingerprint("bm25", marked, {stage.name: stage.fingerprint for stage in stages})
    folder = run.folder / "bm25" / mark
    discard_if_damaged(folder)
    if not folder.exists():
        with open_atomic_folder(folder) as beside:
            texts = PassageTexts(PassageReader(*(stage.folder for stage in stages)))
            build_bm25(texts, settings, terms).save(beside)
            write_checksums(beside)
    return StoredBM25Index(folder, settings.language)


def build_bm25(texts: Sequence[str], settings: BM25, terms: TermSplitter) -> bm25s.BM25:
    """Index texts in memory: every word's score in every text, computed once."""
    vocabulary: dict[str, int] = {}
    corpus: list[array[int]] = []  # four bytes a term
    with Progress("index passages' words", len(texts), "passages") as progress:
        for text in texts:
            ids = (vocabulary.setdefault(term, len(vocabulary)) for term in terms(text))
            corpus.append(array("i", ids))
            progress.advance()
        index = bm25s.BM25(method="lucene", k1=settings.k1, b=settings.b)
        index.index((corpus, vocabulary or {"": 0}), show_progress=False)
    return index


def _select_best(scores: Vectors, k: int) -> tuple[Vectors, RowNumbers]:
    rows = np.flatnonzero(scores > 0)
    if len(rows) > k:
        least = np.partition(scores[rows], -k)[-k]
        rows = rows[scores[rows] >= least]
    order = np.lexsort((rows, -scores[rows]))[:k]
    return scores[rows[order]], rows[order]
