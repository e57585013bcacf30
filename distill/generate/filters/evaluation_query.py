"""The filter against evaluation queries; see `distill.tasks.decontaminate`."""

from distill.generate.filters.candidate import GeneratedQuery
from distill.tasks.decontaminate import REASONS, Decontaminator


def evaluation_query(draw: GeneratedQuery, known: Decontaminator) -> str | None:
    """Drops a query that holds an evaluation query's words, or that was written from a passage
    that does."""
    if known.overlaps(draw.query):
        return REASONS[0]
    return REASONS[1] if draw.tainted else None
