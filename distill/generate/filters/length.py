"""The limits on a query's length, in words."""

from distill.generate.filters.candidate import Filter, GeneratedQuery
from distill.text import words as segmentation
from distill.text.normalize import split_comparable_words


def make_length_filter(least: int, most: int) -> Filter:
    """Make a filter that drops queries of fewer or more words; in scripts without spaces, by how
    many words their letters amount to."""

    def find_reason(draw: GeneratedQuery) -> str | None:
        count = segmentation.count_word_equivalents(split_comparable_words(draw.query))
        if count < least:
            return "too few words"
        return "too many words" if count > most else None

    return find_reason
