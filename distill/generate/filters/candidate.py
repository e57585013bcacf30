"""The interface of filters: what they see of a generated query, and what they return."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from distill.store.passages import NumberedPassage, PassageReader
from distill.store.tables import Row, join_passage


class SeedRank(NamedTuple):
    """The place at which retrieval by a query finds its own seed passage: the rank, counted from 1
    and None beyond the depth of the search, and the similarity, which is the cosine where vectors
    are compared and else the BM25 score. `nearest_other` is the number of the first passage that is
    found beside it, None where there is no other."""

    rank: int | None
    similarity: float
    nearest_other: int | None = None


@dataclass
class GeneratedQuery:
    """One parsed query (a PARSED row) with its seed passage (a PASSAGES row), which is the
    `number`-th of the corpus; an empty one for a query of a log. `contaminated`: the seed passage
    holds words of an evaluation query. `bands`: of its signature, where a worker has made them (see
    `duplicates`)."""

    row: Row
    passage: Row
    number: int
    contaminated: bool = False
    retrieved: SeedRank | None = None
    bands: Sequence[int] | None = None

    @property
    def has_seed(self) -> bool:
        """Whether it is known which passage the query is for."""
        return bool(self.row.get("seed_id", True))

    @property
    def query(self) -> str:
        """The query's text."""
        return str(self.row["query"])

    @property
    def passage_text(self) -> str:
        """The text of the passage that the query was written from, title included."""
        return join_passage(self.passage)


def attach_passages(rows: Sequence[Row], corpus: PassageReader) -> list[GeneratedQuery]:
    """Attach to each parsed row the passage that its query was written for.

    Raises:
        UserError: if a passage is not in the corpus.
    """
    seeds = corpus.find({row["seed_id"] for row in rows} - {""})
    seeds[""] = NumberedPassage(-1, {"passage_id": "", "title": "", "text": ""})
    return [
        GeneratedQuery(row, seeds[row["seed_id"]].row, seeds[row["seed_id"]].number) for row in rows
    ]


Filter = Callable[[GeneratedQuery], str | None]
"""A filter: returns why a query is dropped, in a few words, or None where it passes.

The reason is counted in the stage's manifest and stands beside the query in its side table. A
filter looks at one query at a time and changes nothing. One with settings is made by a function;
`make_row_filters` in `apply` lists those that need no retrieval, in their order.

>>> def make_question_filter(mark: str) -> Filter:
...     def reason(query: GeneratedQuery) -> str | None:
...         return None if query.query.endswith(mark) else "no question"
...     return reason
>>> query = GeneratedQuery({"query": "how swifts sleep"}, {"title": "", "text": "Swifts."}, 0)
>>> make_question_filter("?")(query)
'no question'
"""
