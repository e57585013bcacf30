"""Choose the best of several draws of one query: the first of an order, and if that repeats an
earlier query, the next."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from distill.errors import UserError
from distill.generate.filters.candidate import GeneratedQuery
from distill.llm.judge import judge_ql
from distill.llm.prompts import Prompt
from distill.llm.protocol import LLM
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
        rank, cosine = draw.retrieved or (None, -math.inf)
        return (math.inf if rank is None else rank, -cosine, draw.row["draw"])

    return [sorted(draws, key=make_key) for draws in queries]


def make_likelihood_order(llm: LLM, prompt: Prompt, max_passage_words: int) -> CandidateOrder:
    """Make the order by the mean log-likelihood of the query's tokens given its passage
    (relabelling's QL prompt), then by draw. The mean, for a sum would prefer short queries.

    Raises:
        UserError: if the engine gives no log-probabilities.
    """
    if not llm.can_score:
        raise UserError(
            llm.name,
            "generate.best_by ql needs log-probabilities, which this engine does not give",
            "choose another engine, or generate.best_by: round_trip",
        )

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


def _sort(
    draws: Sequence[GeneratedQuery], by_text: Mapping[str, tuple[float, int]]
) -> list[GeneratedQuery]:
    means = {text: total / max(1, tokens) for text, (total, tokens) in by_text.items()}
    return sorted(draws, key=lambda draw: (-means[draw.query], draw.row["draw"]))
