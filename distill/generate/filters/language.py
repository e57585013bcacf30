"""Drops queries in a language that was not asked for."""

from collections.abc import Sequence

from distill.errors import UserError
from distill.generate.filters.candidate import Filter, GeneratedQuery
from distill.text.languages import is_foreign, open_identifier


def make_language_filter(allowed: Sequence[str] | None) -> Filter:
    """Make a filter that holds a row to its own language where it was written for one, else to
    those allowed, else to none.

    Raises:
        UserError: if `allowed` names a language that cannot be detected.
    """
    unknown = sorted(set(allowed) - set(open_identifier().labels)) if allowed else []
    if unknown:
        raise UserError(
            "generate.filters.languages",
            f"{', '.join(unknown)}: cannot be detected",
            f"known are {' '.join(sorted(open_identifier().labels))}",
        )

    def find_reason(draw: GeneratedQuery) -> str | None:
        own = draw.row["language"]
        expected = [own] if own else allowed
        return "another language" if expected and is_foreign(draw.query, expected) else None

    return find_reason
