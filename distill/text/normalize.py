"""Normalize texts for comparison, never for storage: removes what a reader would not notice."""

import unicodedata

from distill.text.words import split_words

_ZERO_WIDTH_SPACE = "\u200b"
_TATWEEL = "\u0640"
"""Stretches an Arabic word, and is no part of it."""


class _Invisible(dict[int, str | int]):
    """A table for `str.translate`: invisible characters (joiners, soft hyphens, directions) vanish;
    the zero width space separates words."""

    def __missing__(self, code: int) -> str | int:
        character = chr(code)
        gone = character == _TATWEEL or unicodedata.category(character) == "Cf"
        replacement = "" if gone else code
        self[code] = " " if character == _ZERO_WIDTH_SPACE else replacement
        return self[code]


_INVISIBLE = _Invisible()


def fold_text(text: str) -> str:
    """Fold differences of case, width, ligature, composition and invisible characters (NFKC and
    case folding, Unicode Standard, section 3.13)."""
    if text.isascii():
        return text.casefold()
    case = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", case).translate(_INVISIBLE)


def split_folded_words(text: str) -> list[str]:
    """Split a text into words regardless of case and punctuation; a letter of a script without
    spaces is one by itself."""
    return split_words(fold_text(text))


def split_comparable_words(text: str) -> list[str]:
    """Split a text into runs of letters and digits regardless of case and punctuation (NFKC, case
    folded). A letter of a script without spaces (Chinese, Thai) is a word of its own."""
    return split_words(fold_text(text).replace("_", " "))


def normalize_text(text: str) -> str:
    """Normalize case, width and composition, and collapse white space."""
    return " ".join(fold_text(text).split())


def normalize_words(text: str) -> str:
    """Normalize the words of a text (NFKC, case folded), joined by single spaces."""
    return " ".join(split_folded_words(text))
