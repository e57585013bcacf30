"""Queries lifted from their passage."""

from difflib import SequenceMatcher

from distill.generate.filters.candidate import Filter, GeneratedQuery
from distill.store.tables import NO_LLM
from distill.text.normalize import split_comparable_words


def compute_copied_share(query: str, passage: str) -> float:
    """Compute the longest run of consecutive words that query and passage share, as a share of the
    query's words: 1 where the whole query stands in the passage, 0 where no word does. Case and
    punctuation do not count."""
    query_words, written = split_comparable_words(query), split_comparable_words(passage)
    if not query_words:
        return 0.0
    matcher = SequenceMatcher(None, written, query_words, autojunk=False)
    return matcher.find_longest_match().size / len(query_words)


def make_copy_filter(most: float) -> Filter:
    """Make a filter that drops a query of which a larger share is copied. Sentences and titles that
    are taken from the passage, and not written, are copies by intent: they pass."""

    def find_reason(draw: GeneratedQuery) -> str | None:
        if draw.row["llm"] == NO_LLM:
            return None
        share = compute_copied_share(draw.query, draw.passage_text)
        return "copies the passage" if share > most else None

    return find_reason
