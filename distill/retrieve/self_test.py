"""Test a reranker before it is believed: a pair that belongs together, a passage with its own title
or sentence, must score higher than the same query with another passage. One that loads without its
head, its template or its tokens gives scores too, and ranks at random."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from distill.errors import UserError
from distill.store.passages import PassageReader
from distill.store.tables import Row, join_passage
from distill.text.sentences import split_sentences
from distill.text.words import count_words

_log = logging.getLogger(__name__)
PAIRS = 32
"""Pairs that are tried."""
LEAST_PAIRS = 16
"""Of fewer a share says nothing."""
_BY_CHANCE = 0.01
"""Chance that a reranker which ranks at random passes."""
_USUAL_SHARE = 0.9
"""Least share of known pairs that a useful reranker usually gets right."""
_QUERY_WORDS = (4, 40)

ScorePairs = Callable[[Sequence[tuple[str, Sequence[str]]]], Sequence[Sequence[tuple[float, int]]]]
"""Scores passages, each with its queries, as `CrossEncoderJudge.judge` does."""


class KnownPair(NamedTuple):
    """A query, the text of the passage that it stands in, and one that it does not stand in."""

    query: str
    own: str
    other: str


class SelfTest(NamedTuple):
    """The number of known pairs that scored higher than the same query with another passage."""

    pairs: int
    won: int

    @property
    def share(self) -> float:
        """Share of the pairs that were won; 1 of no pairs."""
        return self.won / self.pairs if self.pairs else 1.0

    @property
    def at_random(self) -> bool:
        """Whether the result is no better than what random scores reach in 99 of 100 tests."""
        if self.pairs < LEAST_PAIRS:
            return False
        as_good = sum(math.comb(self.pairs, n) for n in range(self.won, self.pairs + 1))
        return as_good / 2**self.pairs > _BY_CHANCE


def draw_known_pairs(passages: PassageReader, count: int = PAIRS) -> list[KnownPair]:
    """Draw pairs evenly from a corpus; fewer where its passages have neither title nor sentence
    that stands in them alone."""
    places = np.linspace(0, len(passages) - 1, min(len(passages), 2 * count), dtype=int)
    rows = passages.read_rows([*dict.fromkeys(places.tolist())])
    half = max(1, len(rows) // 2)
    pairs = []
    for place, row in enumerate(rows):
        other = join_passage(rows[(place + half) % len(rows)])
        query = _choose_query(row)
        if query and query not in other:
            pairs.append(KnownPair(query, join_passage(row), other))
    return pairs[:: max(1, len(pairs) // count)][:count]


def run_self_test(score: ScorePairs, pairs: Sequence[KnownPair]) -> SelfTest:
    """Score every known pair, and each query with another passage. Equal scores are not won."""
    requests = [(text, [pair.query]) for pair in pairs for text in (pair.own, pair.other)]
    scores = [of_passage[0][0] for of_passage in score(requests)] if requests else []
    won = sum(own > other for own, other in zip(scores[::2], scores[1::2], strict=True))
    return SelfTest(len(pairs), won)


def check_reranker(score: ScorePairs, passages: PassageReader, where: str) -> SelfTest:
    """Run the self-test, and warn of a reranker that knows fewer of its pairs than is usual.

    Args:
        where: what the reranker is called in messages, such as `model 'owner/name'`.

    Raises:
        UserError: if it ranks at random.
    """
    result = run_self_test(score, draw_known_pairs(passages))
    if result.at_random:
        raise UserError(
            where,
            f"ranks at random: of {result.pairs} passages with their own title or sentence it "
            f"scores {result.won} higher than another passage with the same words",
            "name a reranker that was trained to score a query and a passage, in their language, "
            "and check that its folder is whole (tokenizer, head, chat template)",
        )
    if result.pairs >= LEAST_PAIRS and result.share < _USUAL_SHARE:
        _log.warning(
            "%s scores %d of %d passages with their own title or sentence higher than another "
            "passage; a useful reranker does so for nearly all of them",
            where,
            result.won,
            result.pairs,
        )
    return result


def _choose_query(passage: Row) -> str:
    """Choose the title, or else the longest sentence of a query's length; empty for neither."""
    fewest, most = _QUERY_WORDS
    texts = [passage["title"], *split_sentences(passage["text"])]
    fitting = [text for text in texts if fewest <= count_words(text) <= most]
    if fitting and fitting[0] == passage["title"]:
        return str(passage["title"])
    return max(fitting, key=count_words, default="")
