"""Split a text into words, in every script.

Most scripts put spaces between words. Chinese, Japanese, Thai, Lao, Khmer, Burmese and their like
do not, and to find their words takes a dictionary for each; here one of their letters, with the
marks upon it, stands for a part of a word. Which scripts these are, Unicode says by how their lines
may be broken (UAX 14, table 1): ID and its like (Han, Kana, Yi) between any two letters, SA (Thai,
Lao, Khmer, Burmese, Tai) only at words that a dictionary finds, AK and AS (Javanese, Balinese)
between syllables. What belongs to one letter is its grapheme cluster (UAX 29, section 3).
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import regex

_ASCII_WORD = re.compile(r"\w+", re.ASCII)
IDEOGRAPH = r"[[[\p{lb=ID}\p{lb=CJ}\p{lb=NS}]&&[\p{L}\p{Nl}]]--\p{Latin}]"
SYLLABLE = r"[[\p{lb=SA}\p{lb=AK}\p{lb=AS}\p{lb=AP}]&&\p{L}]"
SPACELESS = rf"[{IDEOGRAPH}{SYLLABLE}]"
"""A letter of a script without spaces, as a set of `regex` (version 1)."""
RUN = rf"[[\p{{L}}\p{{N}}_]--{SPACELESS}][[\p{{L}}\p{{N}}\p{{M}}_\u200c\u200d]--{SPACELESS}]*+"
"""Letters, digits and underscores with what is upon and between them: Persian and Sinhala words
hold joiners."""
WORD = rf"(?={SPACELESS})\X|{RUN}"

_WORD = regex.compile(WORD, regex.V1)
_HAS_SPACELESS = regex.compile(SPACELESS, regex.V1)
_IS_IDEOGRAPH = regex.compile(IDEOGRAPH, regex.V1)
_GAP = regex.compile(r"[\s\u200b\u0f0b\u0f0c\u1361]+")
"""White space, the zero width space (Khmer, Thai), Tibetan's mark between syllables, Ethiopic's
between words."""
_SPACED_OTHERWISE = regex.compile(rf"[{SPACELESS}\u0f0b\u0f0c\u1361]", regex.V1)
_PIECE = regex.compile(r"[^\s\u200b\u0f0b\u0f0c\u1361]+")
_UNLIKE_SPACES = regex.compile(rf"[{SPACELESS}\u200b\u0f0b\u0f0c\u1361]", regex.V1)

WORD_WEIGHT = 4
"""Quarters of a word in a word."""
_IN_IDEOGRAPH = 2
_IN_SYLLABLE = 1
"""Quarters of a word in a letter. The Chinese paragraphs of XQuAD (Artetxe et al. 2020) have 1.6
ideographs for each word of the English ones that they translate, the Thai ones 4.2 letters."""


def split_words(text: str) -> list[str]:
    """Split a text into words without punctuation; a letter of a script without spaces is one by
    itself."""
    words: list[str] = (_ASCII_WORD if text.isascii() else _WORD).findall(text)
    return words


def is_spaceless(word: str) -> bool:
    """Return whether one of `split_words` is a letter of a script without spaces."""
    return weigh_word(word) != WORD_WEIGHT


def is_syllable(word: str) -> bool:
    """Return whether one of `split_words` is a letter of Thai, Lao, Khmer, Burmese or their
    like."""
    return weigh_word(word) == _IN_SYLLABLE


def has_spaceless(text: str) -> bool:
    """Return whether a text holds a letter of a script without spaces."""
    return not text.isascii() and _HAS_SPACELESS.search(text) is not None


def weigh_word(word: str) -> int:
    """Weigh one of `split_words`, in quarters of a word: an ideograph 2, another letter of a script
    without spaces 1, all else 4."""
    return WORD_WEIGHT if word.isascii() else _count_letter(word[0])


def count_word_equivalents(of: Sequence[str]) -> int:
    """Count how many words some of `split_words` amount to, rounded up."""
    return -(-sum(map(weigh_word, of)) // WORD_WEIGHT)


def count_words(text: str) -> int:
    """Count the words of a text as its reader does: whatever stands between spaces; in scripts
    without spaces by the number of letters. Rounded up."""
    if text.isascii() or not _UNLIKE_SPACES.search(text):
        return len(text.split())
    pieces = (piece for piece in _GAP.split(text) if piece)
    return -(-sum(map(_count_piece, pieces)) // WORD_WEIGHT)


def cut_words(text: str, most: int) -> str:
    """Cut a text behind its first words, `most` by `count_words`, and collapse its white space. In
    a script that has spaces, a stray zero width space ends no word."""
    if text.isascii() or not _SPACED_OTHERWISE.search(text):
        return " ".join(text.split(maxsplit=most)[:most])
    room = most * WORD_WEIGHT
    for start, weight in _weigh_parts(text):
        room -= weight
        if room < 0:
            text = text[:start]
            break
    return " ".join(text.split())


def _weigh_parts(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each word begins, or each letter of a script without spaces, and its weight."""
    for piece in _PIECE.finditer(text):
        if not has_spaceless(piece[0]):
            yield piece.start(), WORD_WEIGHT
            continue
        for word in _WORD.finditer(piece[0]):
            yield piece.start() + word.start(), weigh_word(word[0])


def _count_piece(piece: str) -> int:
    return sum(map(weigh_word, split_words(piece))) if has_spaceless(piece) else WORD_WEIGHT


@lru_cache(maxsize=65_536)
def _count_letter(letter: str) -> int:
    if _IS_IDEOGRAPH.match(letter):
        return _IN_IDEOGRAPH
    return _IN_SYLLABLE if _HAS_SPACELESS.match(letter) else WORD_WEIGHT
