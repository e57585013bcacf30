"""Passages of whole sentences up to a token budget."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import regex

from distill.text.sentences import find_sentence_spans
from distill.text.words import RUN, SPACELESS, WORD, has_spaceless, is_spaceless

_ASCII_MARK = re.compile(r"\w+|[^\w\s]")
_MARK = regex.compile(rf"{RUN}|\S", regex.V1)
_UNIT = regex.compile(rf"(?P<word>{WORD})|(?!\s)\X", regex.V1)
_CLUSTER = regex.compile(r"\X")
_LONGEST_WORD = 64
"""Letters. What is longer (base64, a genome) is no word to a tokenizer."""
_LONGEST_NAME = 256
"""Letters of words that underscores join."""
_ENDLESS = regex.compile(
    rf"[\p{{L}}\p{{N}}\p{{M}}\u200c\u200d]{{{_LONGEST_WORD + 1}}}"
    rf"|[\p{{L}}\p{{N}}\p{{M}}\u200c\u200d_]{{{_LONGEST_NAME + 1}}}"
)
_ENCODED = regex.compile(rf"[^\s{SPACELESS}]{{{_LONGEST_WORD + 1},}}", regex.V1)
"""What may hold such a word: its other parts, between the signs of base64, are none either."""

_THIRDS = 3
"""Sizes are in thirds of a token."""
_WORD = 4
_LETTER = 3
"""A word or punctuation mark is one token and a third. A letter of a script without spaces, and of
a word without end, is one: the tokenizers of Qwen, Mistral and LLaMA 2 make of an ideograph 0.9,
1.1 and 1.4, of a Thai letter with its marks 0.8, 0.7 and 1.4, of a letter of base64 0.7 to 0.8."""


TokenCount: TypeAlias = Callable[[str], int]
"""A text's tokens, without those that a model puts around it."""
Measure: TypeAlias = Callable[[str], int]
"""A text's size in thirds of a token."""


class TextUnit(NamedTuple):
    """A piece of text that is never cut: a word, a letter with its marks, or a punctuation mark."""

    start: int
    end: int
    size: int
    is_pause: bool


class _TextPiece(NamedTuple):
    """Text that stays together; `gap` is what stood before it: a space or nothing."""

    text: str
    size: int
    gap: str


def estimate_tokens(text: str) -> int:
    """Estimate a text's sub-word tokens."""
    return -(-_measure(text) // _THIRDS)


def split_text(text: str, max_tokens: int, count: TokenCount | None = None) -> list[str]:
    """Split a text into passages of whole sentences, each of at most `max_tokens` tokens; every
    word of the text is in exactly one of them, in order. A longer sentence is cut at spaces, what
    has none at punctuation or else between letters, but never between a letter and its marks.

    Args:
        count: of a text's tokens; None: as `estimate_tokens` counts them.
    """
    measure = _measure if count is None else partial(_measure_by, count)
    budget = max(_WORD, _THIRDS * max_tokens)
    if measure(text) <= budget:
        return [text.strip()]
    pieces: list[_TextPiece] = []
    before = 0
    for start, end in find_sentence_spans(text):
        gap = " " if text[before:start] else ""
        pieces += _cut(_make_piece(text[start:end], gap, measure), budget, measure)
        before = end
    return [piece.text for piece in _pack(pieces, budget)]


def _measure(text: str) -> int:
    if has_spaceless(text) or _has_endless(text):
        return sum(unit.size for unit in _split_units(text))
    marks = _ASCII_MARK if text.isascii() else _MARK
    return _WORD * sum(1 for _ in marks.finditer(text))


def _measure_by(count: TokenCount, text: str) -> int:
    return _THIRDS * count(text)


def _has_endless(text: str) -> bool:
    long = (piece for piece in text.split() if len(piece) > _LONGEST_WORD)
    return any(_ENDLESS.search(piece) for piece in long)


def _split_units(text: str) -> Iterator[TextUnit]:
    endless = [e.span() for e in _ENCODED.finditer(text) if _ENDLESS.search(e[0])]
    for match in _UNIT.finditer(text):
        word, (start, end) = match["word"], match.span()
        while endless and endless[0][1] <= start:
            del endless[0]
        if word is None:
            yield TextUnit(start, end, _WORD * (end - start), not _opens(match[0]))
        elif is_spaceless(word):
            yield TextUnit(start, end, _LETTER, False)
        elif not endless or start < endless[0][0]:
            yield TextUnit(start, end, _WORD, False)
        else:
            for letter in _CLUSTER.finditer(text, start, end):
                yield TextUnit(letter.start(), letter.end(), _LETTER, False)


def _make_piece(text: str, gap: str, measure: Measure) -> _TextPiece:
    return _TextPiece(text, measure(text), gap)


def _pack(pieces: Sequence[_TextPiece], budget: int) -> list[_TextPiece]:
    """Join neighbours as long as they fit."""
    packed: list[_TextPiece] = []
    for piece in pieces:
        if packed and packed[-1].size + piece.size <= budget:
            text, size, gap = packed[-1]
            packed[-1] = _TextPiece(text + piece.gap + piece.text, size + piece.size, gap)
        else:
            packed.append(piece)
    return packed


def _cut(sentence: _TextPiece, budget: int, measure: Measure) -> list[_TextPiece]:
    if sentence.size <= budget:
        return [sentence]
    words = [_make_piece(word, " ", measure) for word in sentence.text.split()]
    words[0] = words[0]._replace(gap=sentence.gap)
    return _pack([part for word in words for part in _cut_word(word, budget, measure)], budget)


def _cut_word(word: _TextPiece, budget: int, measure: Measure) -> list[_TextPiece]:
    """Cut what has no spaces and is over the budget (Chinese, a path, a table's rule)."""
    if word.size <= budget:
        return [word]
    units = list(_split_units(word.text))
    if measure is not _measure:
        units = [u._replace(size=measure(word.text[u.start : u.end])) for u in units]
    pauses = has_spaceless(word.text)
    parts: list[_TextPiece] = []
    for part in group_units(units, budget, pauses):
        text = word.text[part[0].start : part[-1].end]
        size = sum(unit.size for unit in part)
        parts.append(_TextPiece(text, size, "" if parts else word.gap))
    return parts


def group_units(
    units: Sequence[TextUnit], budget: int, pauses: bool
) -> Iterator[Sequence[TextUnit]]:
    """Group units that follow each other by what fits the budget, in thirds of a token. Each is
    looked at a few times, however many there are: a word may have millions.

    Args:
        pauses: whether a group ends at a pause, where its second half has one.
    """
    start = 0
    while start < len(units):
        stop = _find_stop(units, start, budget)
        if pauses and stop < len(units):
            stop = _find_pause(units, start, stop)
        yield units[start:stop]
        start = stop


def _find_stop(units: Sequence[TextUnit], start: int, budget: int) -> int:
    """Return where the units from `start` on that fit end; one does at least."""
    room, stop = budget, start
    while stop < len(units) and units[stop].size <= room:
        room -= units[stop].size
        stop += 1
    return max(start + 1, stop)


def _find_pause(units: Sequence[TextUnit], start: int, stop: int) -> int:
    """Go back to the last pause of the second half, or not at all where it has none."""
    for end in range(stop, (start + stop) // 2, -1):
        if units[end - 1].is_pause and not units[end].is_pause:
            return end
    return stop


def _opens(mark: str) -> bool:
    return unicodedata.category(mark[0]) in ("Ps", "Pi")
