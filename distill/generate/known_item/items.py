"""Take a query out of a document, so that what is left of the document can be searched for by it:
known-item search (Azzopardi, de Rijke and Balog 2007), without a label and without a language
model."""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from distill.store.tables import Row
from distill.text.normalize import normalize_words
from distill.text.sentences import find_sentence_spans
from distill.text.words import count_words

LEAST_ITEMS = 30
"""Queries of a task below which an interval says next to nothing."""
LEAST_TITLE_WORDS = 3
"""Shorter titles (Introduction, Usage) name no document."""
LEAST_TEXT_WORDS = 20
"""Of a passage without its query: less says too little to be found by."""
SENTENCE_WORDS = (8, 40)
_PIECE = re.compile(r"(.*)#(\d+)", re.DOTALL)

ItemKind = Literal["title", "sentence"]


class KnownItem(NamedTuple):
    """A query, and the passages of the document it is taken from, without it. `answers` are the ids
    of those that the query asks for: of a title all, of a sentence the one that it stood in."""

    document: str
    kind: ItemKind
    query: str
    passages: list[Row]
    answers: list[str]


def group_by_document(
    passages: Iterable[Row], most: int | None = None
) -> Iterator[tuple[str, list[Row]]]:
    """Group passages in the corpus' order by the document that they are pieces of, named by the id
    of its first passage. A piece is called ID#NUMBER and has its document's title.

    Args:
        most: of a document that is held out by sections, the pieces that are held out together.
    """
    for _, pieces in groupby(passages, lambda row: (_name_section(row, most), row["title"])):
        rows = list(pieces)
        yield rows[0]["passage_id"], rows


def name_document(row: Row) -> str:
    """Name the document that a passage is a piece of."""
    piece = _PIECE.fullmatch(row["passage_id"])
    return str(piece[1] if piece else row["passage_id"])


def _name_section(row: Row, most: int | None) -> str:
    piece = _PIECE.fullmatch(row["passage_id"])
    if most is None or piece is None:
        return name_document(row)
    return f"{piece[1]}#{int(piece[2]) // most}"


def take_title(document: str, passages: Sequence[Row]) -> KnownItem | None:
    """Take the title as the query, out of every passage; None where it has too few words, is
    repeated within the text, or leaves too little of it."""
    title = " ".join(passages[0]["title"].split())
    if count_words(title) < LEAST_TITLE_WORDS:
        return None
    words = f" {normalize_words(title)} "
    left = [row | {"title": "", "text": _cut_beginning(row["text"], title)} for row in passages]
    if any(words in f" {normalize_words(row['text'])} " for row in left):
        return None
    left = [row for row in left if row["text"]]
    if max((count_words(row["text"]) for row in left), default=0) < LEAST_TEXT_WORDS:
        return None
    return KnownItem(document, "title", title, left, [row["passage_id"] for row in left])


def _cut_beginning(text: str, title: str) -> str:
    """Return the text without the title as its first words, such as a heading."""
    begins = text.casefold().startswith(title.casefold())
    return text[len(title) :].lstrip(" \t\n.:-#=*") if begins else text


def take_sentence(
    document: str, passages: Sequence[Row], seed: int, may_ask: Callable[[str], bool]
) -> KnownItem | None:
    """Take a sentence, drawn by seed, out of one passage as the query; None where no sentence has
    the right length, may ask and leaves enough of the passage.

    Args:
        may_ask: whether the sentence stands nowhere else.
    """
    places = [
        (number, start, end)
        for number, row in enumerate(passages)
        for start, end in list_sentence_spans(row["text"])
    ]
    random.Random(f"{seed}|{document}").shuffle(places)
    for number, start, end in places:
        row = passages[number]
        sentence = " ".join(row["text"][start:end].split())
        parts = (row["text"][:start].rstrip(), row["text"][end:].lstrip())
        left = " ".join(part for part in parts if part)
        if count_words(left) < LEAST_TEXT_WORDS or not may_ask(sentence):
            continue
        if f" {normalize_words(sentence)} " in f" {normalize_words(left)} ":
            continue
        rows = [*passages]
        rows[number] = row | {"text": left}
        return KnownItem(document, "sentence", sentence, rows, [row["passage_id"]])
    return None


def can_be_searched_for(passages: Sequence[Row]) -> bool:
    """Return whether a document gives a query, if its title or its sentences stand nowhere else."""
    by_title = take_title("", passages)
    return by_title is not None or take_sentence("", passages, 0, lambda _: True) is not None


def list_sentence_spans(text: str) -> list[tuple[int, int]]:
    """List where sentences begin and end that are long enough, and not too long, to ask."""
    fewest, most = SENTENCE_WORDS
    return [
        (start, end)
        for start, end in find_sentence_spans(text)
        if fewest <= count_words(text[start:end]) <= most
    ]
