"""Hard negatives: which of a query's candidates may be one, and which are chosen."""

import random
from collections import Counter
from collections.abc import Mapping

from distill.recipe import Relabel
from distill.store.tables import Row
from distill.text.near_duplicates import NearDuplicates

SEED_TWIN = "near-duplicates of the seed left out"
POSITIVE_TWIN = "near-duplicates of a positive left out"
TOO_SIMILAR = "negatives rejected by max_negative_share"
WITHIN_MARGIN = "negatives rejected by negative_margin"
ANSWERING = "negatives rejected by min_relevance"
CONFIRMED = "negatives kept as confirmed by the LLM"


def select_negative_pool(
    ordered: list[Row],
    seed: Row | None,
    positives: list[Row],
    texts: Mapping[str, str],
    rule: Relabel,
) -> tuple[list[Row], Counter[str]]:
    """Select the candidates that may be negatives, best first by fusion or by similarity
    (`negatives_by`), and count those that may not, by the first reason. A range of ranks is applied
    after these rejections.

    Args:
        ordered: the query's labels, best first by fusion.
        seed: the passage that the query was written for, if any.
        positives: the query's own first: limits on similarity are measured from it.
        texts: of all candidates.
    """
    known = [seed] if seed is not None else []
    excluded = {row["passage_id"] for row in (*known, *positives)}
    seeds = NearDuplicates([texts[row["passage_id"]] for row in known], rule.near_duplicates)
    answers = select_relevant(ordered, rule, rule.min_relevance)
    answering = {row["passage_id"] for row in answers}
    others = NearDuplicates([texts[row["passage_id"]] for row in positives], rule.near_duplicates)
    pool: list[Row] = []
    counts: Counter[str] = Counter()
    for row in _sort_candidates(ordered, rule):
        text = texts[row["passage_id"]]
        if row["passage_id"] in excluded:
            continue
        if row["passage_id"] in answering:
            counts[ANSWERING] += 1
        elif seeds.contains(text):
            counts[SEED_TWIN] += 1
        elif others.contains(text):
            counts[POSITIVE_TWIN] += 1
        elif (reason := _find_broken_limit(row, positives[0], rule)) is None:
            pool.append(row)
        elif _is_confirmed_negative(row, rule):
            counts[CONFIRMED] += 1
            pool.append(row)
        else:
            counts[reason] += 1
    if rule.negatives == "range":
        first, last = rule.negative_range
        pool = pool[first - 1 : last]
    return pool, counts


def draw_negatives(pool: list[Row], rule: Relabel, rng: random.Random) -> list[Row]:
    """Draw at most `negative_count` negatives: the worst or the best first, or a random sample."""
    if rule.negatives == "lowest":
        return pool[::-1][: rule.negative_count]
    if rule.negatives == "hardest":
        return pool[: rule.negative_count]
    return rng.sample(pool, min(rule.negative_count, len(pool)))


def _sort_candidates(ordered: list[Row], rule: Relabel) -> list[Row]:
    if rule.negatives_by == "fusion":
        return ordered
    return sorted(ordered, key=lambda row: (-row["similarity"], row["retriever_rank"]))


def get_relevance_column(rule: Relabel) -> str:
    """Return the column of the relevance of all candidates: rc, or the grade where rc does not
    judge."""
    return "rc" if "rc" in rule.rankers else "graded"


def select_relevant(ordered: list[Row], rule: Relabel, least: float | None) -> list[Row]:
    """Select the candidates whose relevance reaches a threshold, in their order: one without a
    judgement does not, and none does where there is no threshold."""
    if least is None:
        return []
    name = get_relevance_column(rule)
    return [row for row in ordered if row[name] is not None and row[name] >= least]


def _find_broken_limit(row: Row, positive: Row, rule: Relabel) -> str | None:
    """Find the positive-aware limit on similarity (NV-Retriever, section 3) that a negative
    exceeds. The share is taken off the absolute value of the positive's similarity, so that the
    limit lies below it whatever its sign."""
    similarity, limit = row["similarity"], positive["similarity"]
    share, margin = rule.max_negative_share, rule.negative_margin
    if share is not None and similarity >= limit - abs(limit) * (1 - share):
        return TOO_SIMILAR
    if margin is not None and similarity > limit - margin:
        return WITHIN_MARGIN
    return None


def _is_confirmed_negative(row: Row, rule: Relabel) -> bool:
    """Return whether the LLM judges the candidate irrelevant: rather no than yes, or a grade below
    low."""
    if not rule.confirmed_exempt:
        return False
    name = get_relevance_column(rule)
    return row[name] is not None and row[name] < (0 if name == "rc" else 1)
