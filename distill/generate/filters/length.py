"""A text as words for comparison, and the limits on a query's length."""

from distill.generate.filters.candidate import Draw, Filter
from distill.text import words as segmentation
from distill.text.compare import folded


def words(text: str) -> list[str]:
    """Runs of letters and digits, whatever their case and the punctuation between them (NFKC, case
    folded). A letter of a script without spaces (Chinese, Thai) is a word of its own."""
    return segmentation.words(folded(text).replace("_", " "))


def word_limits(least: int, most: int) -> Filter:
    """Drops queries of fewer or more words; in scripts without spaces, by how many words their
    letters amount to."""

    def reason(draw: Draw) -> str | None:
        count = segmentation.amount(words(draw.query))
        if count < least:
            return "too few words"
        return "too many words" if count > most else None

    return reason
