"""What a filter looks at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from distill.store.tables import Row, passage_text


class SeedRank(NamedTuple):
    """Where retrieval by a query finds its own seed passage: the rank, counted from 1 and None
    beyond the depth of the search, and the cosine."""

    rank: int | None
    similarity: float


@dataclass
class GeneratedQuery:
    """One parsed query (a PARSED row) with its seed passage (a PASSAGES row), which is the
    `number`-th of the corpus. `tainted`: the seed passage holds words of an evaluation query."""

    row: Row
    passage: Row
    number: int
    tainted: bool = False
    retrieved: SeedRank | None = None

    @property
    def query(self) -> str:
        return str(self.row["query"])

    @property
    def passage_text(self) -> str:
        return passage_text(self.passage)


Filter = Callable[[GeneratedQuery], str | None]
"""Why the draw is dropped, or None."""
