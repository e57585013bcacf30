"""Choose the best of several draws of one query: the first of an order, and if that repeats an
earlier query, the next."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from distill.errors import UserError
from distill.generate.filters.candidate import GeneratedQuery, SeedRank
from distill.llm.judge import judge_ql
from distill.llm.prompts import Prompt
from distill.llm.protocol import LLM
from distill.store.passages import PassageReader
from distill.store.tables import join_passage
from distill.text.sanitize import sanitize_for_prompt

CandidateOrder = Callable[[Sequence[Sequence[GeneratedQuery]]], list[list[GeneratedQuery]]]
"""The draws of some queries, each query's the best first."""


def group_by_query(draws: Sequence[GeneratedQuery]) -> list[list[GeneratedQuery]]:
    """Return the draws of each (passage, sample), which stand together."""
    return [
        list(group)
        for _, group in groupby(draws, lambda draw: (draw.row["seed_id"], draw.row["sample"]))
    ]


def order_by_rank(queries: Sequence[Sequence[GeneratedQuery]]) -> list[list[GeneratedQuery]]:
    """Order draws by the rank of the seed passage; ties, and seeds that were not found, by
    similarity, then by draw."""

    def make_key(draw: GeneratedQuery) -> tuple[float, float, int]:
        rank, similarity, _ = draw.retrieved or SeedRank(None, -math.inf)
        return (math.inf if rank is None else rank, -similarity, draw.row["draw"])

    return [sorted(draws, key=make_key) for draws in queries]


def make_likelihood_order(llm: LLM, prompt: Prompt, max_passage_words: int) -> CandidateOrder:
    """Make the order by the mean log-likelihood of the query's tokens given its passage
    (relabelling's QL prompt), then by draw. The mean, for a sum would prefer short queries.

    Raises:
        UserError: if the engine gives no log-probabilities.
    """
    _check_scores(llm, "ql")

    def order_by_likelihood(
        queries: Sequence[Sequence[GeneratedQuery]],
    ) -> list[list[GeneratedQuery]]:
        contested = [draws for draws in queries if len(draws) > 1]
        # Each text once: in a batch the same text twice may differ in its last digits.
        requests = [
            (
                sanitize_for_prompt(draws[0].passage_text, max_passage_words),
                list(dict.fromkeys(draw.query for draw in draws)),
            )
            for draws in contested
        ]
        judged = judge_ql(llm, prompt, requests)
        by_text = iter(
            dict(zip(texts, scores, strict=True))
            for (_, texts), scores in zip(requests, judged, strict=True)
        )
        return [_sort(draws, next(by_text)) if len(draws) > 1 else [*draws] for draws in queries]

    return order_by_likelihood


def make_contrast_order(
    llm: LLM, prompt: Prompt, max_passage_words: int, passages: PassageReader
) -> CandidateOrder:
    """Make the order by log P(query | its passage) - log P(query | the nearest other passage that
    it retrieves), then by draw: how sure the LLM is which of the two the query asks for. A draw
    that retrieves no other passage comes first, one without a usable score last.

    Args:
        passages: all of the corpus, which the other passages are read from.

    Raises:
        UserError: if the engine gives no log-probabilities.
    """
    _check_scores(llm, "contrast")

    def order_by_contrast(
        queries: Sequence[Sequence[GeneratedQuery]],
    ) -> list[list[GeneratedQuery]]:
        contested = [draw for draws in queries if len(draws) > 1 for draw in draws]
        pairs = _list_contrasts(contested, passages, max_passage_words)
        asked: dict[str, dict[str, None]] = {}
        for draw, texts in zip(contested, pairs, strict=True):
            for text in texts:
                asked.setdefault(text, {})[draw.query] = None
        judged = judge_ql(llm, prompt, [(text, [*several]) for text, several in asked.items()])
        likelihoods = {
            (text, query): score
            for (text, several), scores in zip(asked.items(), judged, strict=True)
            for query, (score, _) in zip(several, scores, strict=True)
        }
        contrasts = {
            draw.row["query_id"]: _compute_contrast([likelihoods[text, draw.query] for text in own])
            for draw, own in zip(contested, pairs, strict=True)
        }

        def make_key(draw: GeneratedQuery) -> tuple[float, int]:
            return -contrasts[draw.row["query_id"]], draw.row["draw"]

        return [sorted(draws, key=make_key) if len(draws) > 1 else [*draws] for draws in queries]

    return order_by_contrast


def _list_contrasts(
    draws: Sequence[GeneratedQuery], passages: PassageReader, words: int
) -> list[list[str]]:
    """List the text of each draw's own passage, and of the nearest other that it retrieves."""
    numbers = [draw.retrieved.nearest_other if draw.retrieved else None for draw in draws]
    known = sorted({number for number in numbers if number is not None})
    others = dict(zip(known, passages.read_rows(known), strict=True))
    rows = [
        [draw.passage] if number is None else [draw.passage, others[number]]
        for draw, number in zip(draws, numbers, strict=True)
    ]
    return [[sanitize_for_prompt(join_passage(row), words) for row in of] for of in rows]


def _compute_contrast(likelihoods: Sequence[float]) -> float:
    """Compute by how much the first of two log-likelihoods is larger."""
    if len(likelihoods) == 1:
        return math.inf
    contrast = likelihoods[0] - likelihoods[1]
    return contrast if math.isfinite(contrast) else -math.inf


def _check_scores(llm: LLM, by: str) -> None:
    if not llm.can_score:
        raise UserError(
            llm.name,
            f"generate.best_by {by} needs log-probabilities, which this engine does not give",
            "choose another engine, or generate.best_by: round_trip",
        )


def _sort(
    draws: Sequence[GeneratedQuery], by_text: Mapping[str, tuple[float, int]]
) -> list[GeneratedQuery]:
    means = {text: total / max(1, tokens) for text, (total, tokens) in by_text.items()}

    def make_key(draw: GeneratedQuery) -> tuple[float, int]:
        mean = means[draw.query]
        # NaN is neither more nor less than a number, so that it would stop the sort where it lies.
        return math.inf if math.isnan(mean) else -mean, draw.row["draw"]

    return sorted(draws, key=make_key)
