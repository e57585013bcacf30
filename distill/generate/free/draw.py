"""Draws queries from a passage's own text: its sentences, its title, bags of its rarer words."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from distill.recipe import FreeMethod, FreeQueries
from distill.retrieve.terms import split_terms
from distill.store.tables import Row, join_passage
from distill.text.normalize import normalize_text
from distill.text.sentences import split_sentences
from distill.text.words import count_words


@dataclass(frozen=True)
class CorpusCounts:
    """Counts over a corpus: the number of `passages`, the number of them that have each term, and
    the digests of the sentences that stand in too many of them."""

    passages: int
    term_passages: dict[str, int]
    boilerplate: frozenset[int]

    def compute_rarity(self, term: str) -> float:
        """Return log(N / df), which is 0 for a term that every passage has."""
        return log(self.passages / self.term_passages[term])


def draw_queries(
    passage: Row,
    method: FreeMethod,
    count: int,
    counts: CorpusCounts,
    settings: FreeQueries,
    draw: random.Random,
) -> list[str]:
    """Draw up to `count` different queries of one kind from a passage."""
    if method == "titles":
        return [passage["title"].strip()][:count]
    if method == "keywords":
        bags = (_draw_keywords(passage, counts, settings, draw) for _ in range(count))
        return [bag for bag in dict.fromkeys(bags) if bag]
    sentences = [
        sentence
        for sentence in list_sentences(passage, settings)
        if digest_sentence(sentence) not in counts.boilerplate
    ]
    return draw.sample(sentences, min(count, len(sentences)))


def list_sentences(passage: Row, settings: FreeQueries) -> list[str]:
    """List the different sentences of a passage that have neither too few nor too many words, with
    white space as single blanks."""
    fewest, most = settings.sentence_words
    sentences = (" ".join(sentence.split()) for sentence in split_sentences(passage["text"]))
    return [s for s in dict.fromkeys(sentences) if fewest <= count_words(s) <= most]


def list_keywords(passage: Row) -> list[str]:
    """List the different terms of a passage, as BM25 splits them, that may stand in a bag of
    keywords: neither numbers nor single ASCII letters."""
    return [
        term
        for term in dict.fromkeys(split_terms(join_passage(passage)))
        if not term.isnumeric() and not (term.isascii() and len(term) == 1)
    ]


def digest_sentence(sentence: str) -> int:
    """Return 64 bits that sentences which read the same have in common."""
    digest = hashlib.blake2b(normalize_text(sentence).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _draw_keywords(
    passage: Row, counts: CorpusCounts, settings: FreeQueries, draw: random.Random
) -> str:
    words = [word for word in list_keywords(passage) if counts.compute_rarity(word) > 0]
    fewest, most = settings.keyword_terms
    if len(words) < fewest:
        return ""
    size = min(draw.randint(fewest, most), len(words))
    return " ".join(
        _sample_weighted(words, [counts.compute_rarity(word) for word in words], size, draw)
    )


def _sample_weighted(
    words: Sequence[str], weights: Sequence[float], size: int, draw: random.Random
) -> list[str]:
    """Sample without replacement, in the order in which the words are drawn (Efraimidis and
    Spirakis 2006: the largest u ** (1 / weight))."""
    keys = {
        word: draw.random() ** (1 / weight) for word, weight in zip(words, weights, strict=True)
    }
    return sorted(words, key=lambda word: -keys[word])[:size]
