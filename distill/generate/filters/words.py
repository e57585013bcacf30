"""A text as words for comparison, and the limits on a query's length."""

import re
import unicodedata

from distill.generate.filters.draw import Draw, Filter

_IDEOGRAPH = re.compile(
    "[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Kana and Han are written without spaces."""
_ZERO_WIDTH_SPACE = 0x200B


class _Separators(dict[int, str]):
    """For `str.translate`: letters, digits and the marks upon them stay (Python's `\\w` would break
    a word of Hindi at its vowel signs), ideographs stand alone, invisible characters vanish, all
    else parts words."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if _IDEOGRAPH.match(character):
            kept = f" {character} "
        elif category[0] in "LNM":
            kept = character
        elif category == "Cf" and code != _ZERO_WIDTH_SPACE:
            kept = ""
        else:
            kept = " "
        self[code] = kept
        return kept


_SEPARATORS = _Separators()


def words(text: str) -> list[str]:
    """Runs of letters and digits, whatever their case and the punctuation between them (NFKC, case
    folded). Each Han or Kana character is a word of its own."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded).translate(_SEPARATORS).split()


def word_limits(least: int, most: int) -> Filter:
    """Drops queries of fewer or more words."""

    def reason(draw: Draw) -> str | None:
        count = len(words(draw.query))
        if count < least:
            return "too few words"
        return "too many words" if count > most else None

    return reason
