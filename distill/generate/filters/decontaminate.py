"""The filter against evaluation queries; see `distill.tasks.decontaminate`."""

from collections.abc import Sequence

from distill.generate.filters.candidate import GeneratedQuery
from distill.store.stage import ShardResult
from distill.tasks.decontaminate import REASONS, Decontaminator

SEED_PASSAGES = "seed passages"
CONTAMINATED_SEEDS = "seed passages that hold an evaluation query"
OVERLAPPING_SEEDS = "seed passages that share words with an evaluation document"
"""What is counted of seed passages besides what is dropped."""


def mark_contaminated(
    draws: Sequence[GeneratedQuery], known: Decontaminator, shard: ShardResult
) -> None:
    """Mark the draws whose seed passages hold an evaluation query, and count those passages."""
    seeds = {draw.row["seed_id"]: draw.passage_text for draw in draws if draw.has_seed}
    contaminated = {seed for seed, text in seeds.items() if known.overlaps(text)}
    for draw in draws:
        draw.contaminated = draw.row["seed_id"] in contaminated
    shard.counts[SEED_PASSAGES] = len(seeds)
    shard.counts[CONTAMINATED_SEEDS] = len(contaminated)
    shard.counts[OVERLAPPING_SEEDS] = sum(known.overlaps_document(text) for text in seeds.values())


def reject_evaluation_query(draw: GeneratedQuery, known: Decontaminator) -> str | None:
    """Drop a query that holds an evaluation query's words, or that was written from a passage that
    does."""
    if known.overlaps(draw.query):
        return REASONS[0]
    return REASONS[1] if draw.contaminated else None
