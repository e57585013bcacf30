"""Plain texts of the corpus that are aligned with a teacher's vectors, beside the examples."""

import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from distill.recipe import Align
from distill.store.tables import Row, join_passage
from distill.text.digests import TextDigests, digest_texts
from distill.text.sentences import split_sentences
from distill.text.words import count_words
from distill.train.rows.texts import PlacedText

MIN_WORDS = 4
"""Shorter sentences are headings and debris of the splitting."""


class TextsToAlign(NamedTuple):
    """Texts that are aligned as documents, and as queries."""

    documents: list[str]
    queries: list[str]

    def place(self, task: str) -> list[PlacedText]:
        """Return the documents, then the queries, as texts of no example.

        Args:
            task: of the queries.
        """
        queries = [PlacedText({"query": text, "task": task}, None) for text in self.queries]
        return [*(PlacedText(None, text) for text in self.documents), *queries]


def draw_texts(align: Align, seed: int, passages: Iterable[Row]) -> TextsToAlign:
    """Draw passages, and sentences of passages that are no passage themselves, by seed; each text
    once. Of texts that are not drawn, a hash is held in memory."""

    def list_passages() -> Iterator[str]:
        return (join_passage(row) for row in passages)

    def list_sentences() -> Iterator[str]:
        sentences = (text for row in passages for text in split_sentences(row["text"]))
        return (text for text in sentences if count_words(text) >= MIN_WORDS)

    if not (align.passages or align.sentences):
        return TextsToAlign([], [])
    whole = digest_texts(list_passages())
    drawn = _draw(list_passages, whole, align.passages, f"{seed}|passages to align")
    sentences: list[str] = []
    if align.sentences:
        parts = digest_texts(list_sentences())
        seed_of_parts = f"{seed}|sentences to align"
        sentences = _draw(list_sentences, parts, align.sentences, seed_of_parts, whole)
    if align.sentences_as == "query":
        return TextsToAlign(drawn, sentences)
    return TextsToAlign(drawn + sentences, [])


def _draw(
    list_texts: Callable[[], Iterable[str]],
    digests: TextDigests,
    count: int,
    seed: str,
    left_out: TextDigests | None = None,
) -> list[str]:
    """Draw `count` of the distinct texts, or all if there are fewer.

    Args:
        digests: of the texts.
        left_out: those of texts that are not drawn.
    """
    distinct, first = np.unique(digests, return_index=True)
    if left_out is not None:
        first = first[~np.isin(distinct, left_out)]
    first.sort()
    numbers = random.Random(seed).sample(range(len(first)), min(count, len(first)))
    places = [int(first[number]) for number in numbers]
    wanted = set(places)
    texts = {place: text for place, text in enumerate(list_texts()) if place in wanted}
    return [texts[place] for place in places]
