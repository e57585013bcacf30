"""Cut documents into the pieces that may become passages: a pure function of each document, which
workers compute as well as the process that writes."""

import hashlib
from functools import partial
from typing import NamedTuple

from distill.corpus.held_out import holds_documents_out, is_held_out
from distill.corpus.readers.rows import Document
from distill.corpus.split import split_text
from distill.corpus.token_counts import open_token_count
from distill.recipe import Corpus
from distill.store.tables import join_passage
from distill.text.normalize import normalize_text
from distill.text.words import count_words


class CutPiece(NamedTuple):
    """A piece of a document. `digest` is that of what it says (see `digest_passage`); empty where
    the piece is too short to be a passage."""

    id: str
    text: str
    digest: bytes
    is_held_out: bool

    @property
    def is_short(self) -> bool:
        """Whether it has fewer words than `corpus.min_words`."""
        return not self.digest


class CutDocument(NamedTuple):
    """A document in pieces; see `Document`."""

    id: str
    title: str
    source: str
    is_repaired: bool
    pieces: list[CutPiece]


class DocumentCutter:
    """Cuts documents by the rules of the section `corpus`.

    Args:
        seed: draws the documents that are held out.
        titles_are_prose: whether titles count as words.

    Raises:
        UserError: if `corpus.tokenizer` is not found.
    """

    def __init__(self, corpus: Corpus, seed: int, titles_are_prose: bool) -> None:
        self._corpus, self._seed = corpus, seed
        self._titles_are_prose = titles_are_prose
        self._holds_out = holds_documents_out(corpus)
        count = open_token_count(corpus)
        self._split = partial(split_text, max_tokens=corpus.max_tokens, count=count)

    def cut(self, document: Document) -> CutDocument:
        """Cut a document. A text that stays whole keeps its document's id; pieces of a split one
        are called ID#0, ID#1, ..."""
        texts = self._split(document.text)
        pieces = [
            self._make_piece(document, number, len(texts) > 1, text)
            for number, text in enumerate(texts)
        ]
        return CutDocument(
            document.id, document.title, document.source, document.is_repaired, pieces
        )

    def _make_piece(self, document: Document, number: int, is_split: bool, text: str) -> CutPiece:
        id_, title = f"{document.id}#{number}" if is_split else document.id, document.title
        read = join_passage({"title": title, "text": text}) if self._titles_are_prose else text
        if count_words(read) < self._corpus.min_words:
            return CutPiece(id_, text, b"", False)
        held_out = self._holds_out and is_held_out(document, number, self._corpus, self._seed)
        return CutPiece(id_, text, digest_passage(title, text), held_out)


def digest_passage(title: str, text: str) -> bytes:
    """Hash a passage to 16 bytes, which are equal for passages that read the same: regardless of
    case, width and white space."""
    content = f"{normalize_text(title)}\n{normalize_text(text)}"
    return hashlib.blake2b(content.encode(), digest_size=16).digest()
