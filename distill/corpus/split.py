"""Sentences of a text, and passages of whole sentences up to a token budget."""

import re

_END = re.compile(
    r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[^\W_a-zà-öø-ÿ])"  # a mark, space, no small letter
    r"|(?<=[。！？])\s*"  # no space follows these
    r"|\n\s*\n"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|et al|vs|viz|resp|approx|ca|Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|No|Nos|Fig|Figs|"
    r"Eq|Eqs|Ref|Refs|Sec|Ch|Vol|pp|p|ed|eds|Inc|Ltd|Co|U\.S|U\.K)|\b[A-Z]|(?:\b[A-Z]\.)+[A-Z])\.$"
)
_MARK = re.compile(r"\w+|[^\w\s]")


def sentences(text: str) -> list[str]:
    """The sentences of a text in order, without the white space between them.

    A sentence ends at `.`, `!` or `?` before white space and anything but a small letter, unless
    the mark belongs to a common abbreviation or an initial; and at an empty line.
    """
    found, start = [], 0
    for end in _END.finditer(text):
        if "\n\n" not in end[0] and _ABBREVIATION.search(text, start, end.start()):
            continue
        closing = end.start() + len(end[0].rstrip())
        found.append(text[start:closing].strip())
        start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def tokens(text: str) -> int:
    """An estimate of a text's sub-word tokens: a word or punctuation mark is one and a third."""
    return -(-4 * _marks(text) // 3)


def split(text: str, max_tokens: int) -> list[str]:
    """Passages of whole sentences, each of at most `max_tokens` by `tokens`; every word of the
    text is in exactly one of them, in order. A longer sentence is cut at words."""
    budget = max(1, 3 * max_tokens // 4)
    if _marks(text) <= budget:
        return [text.strip()]
    pieces = [piece for sentence in sentences(text) for piece in _cut(sentence, budget)]
    return _packed(pieces, budget)


def _marks(text: str) -> int:
    return sum(1 for _ in _MARK.finditer(text))


def _packed(pieces: list[str], budget: int) -> list[str]:
    """Neighbours joined as long as they fit."""
    packed: list[str] = []
    room = 0
    for piece in pieces:
        size = _marks(piece)
        if packed and size <= room:
            packed[-1] += " " + piece
            room -= size
        else:
            packed.append(piece)
            room = budget - size
    return packed


def _cut(sentence: str, budget: int) -> list[str]:
    if _marks(sentence) <= budget:
        return [sentence]
    words = [part for word in sentence.split() for part in _cut_word(word, budget)]
    return _packed(words, budget)


def _cut_word(word: str, budget: int) -> list[str]:
    """A word with more marks than the budget (a path, a table's rule) is cut at marks."""
    starts = [mark.start() for mark in _MARK.finditer(word)][::budget]
    return [word[a:b] for a, b in zip(starts, [*starts[1:], len(word)], strict=True)]
