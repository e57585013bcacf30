"""The way of one shard's draws through the filters.

First what a query and its passage alone decide: length, refusals, language, copying, and evaluation
queries. Then what retrieval says of it. Then the best of a query's draws is taken, and duplicates
come last: they are looked for among kept queries only, so that no query falls for the sake of one
that falls itself, and where the best draw is a duplicate the next best has its turn. All but that
depends on the draw alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from distill.generate.filters.best_of import CandidateOrder, group_by_query
from distill.generate.filters.candidate import Filter, GeneratedQuery
from distill.generate.filters.copied_text import make_copy_filter
from distill.generate.filters.decontaminate import mark_contaminated, reject_evaluation_query
from distill.generate.filters.duplicates import QueryDeduplicator, make_ordinal
from distill.generate.filters.language import make_language_filter
from distill.generate.filters.length import make_length_filter
from distill.generate.filters.refusals import reject_refusals
from distill.generate.filters.round_trip import (
    DrawBatch,
    SeedSearch,
    make_round_trip_filter,
    make_similarity_filter,
)
from distill.recipe import Filters
from distill.runtime.progress import count_within_shard
from distill.store.sqlite.table import SqlRow
from distill.store.stage import ShardResult
from distill.store.tables import QUERIES, Row
from distill.tasks.decontaminate import Decontaminator


class ScreenedDraws(NamedTuple):
    """The draws of a shard that pass what a query, its passage and retrieval decide. `shard` has
    what was dropped and counted so far, and `searches` what a worker found for them."""

    draws: list[GeneratedQuery]
    shard: ShardResult
    searches: Sequence[SqlRow] = ()


@dataclass(frozen=True)
class DrawScreen:
    """The filters that look at each draw by itself: `before` retrieval and `after` it. `known` and
    `search` are None unless the recipe needs them."""

    before: Sequence[Filter]
    known: Decontaminator | None
    search: SeedSearch | None
    after: Sequence[Filter]

    def __call__(self, shards: Mapping[int, list[GeneratedQuery]]) -> list[ScreenedDraws]:
        """Screen the draws of some shards, by number. The corpus is searched for all of them at
        once."""
        screened = {number: self.screen(draws) for number, draws in shards.items()}
        searches: list[SqlRow] = []
        if self.search is not None:
            batches = (DrawBatch(of.draws, number) for number, of in screened.items())
            self.search.search(*batches)
            searches = self.search.take_new_searches()
        passing = [
            ScreenedDraws(_select_passing(of.draws, self.after, of.shard), of.shard)
            for of in screened.values()
        ]
        return [passing[0]._replace(searches=searches), *passing[1:]]

    def screen(self, draws: list[GeneratedQuery]) -> ScreenedDraws:
        """Screen draws by what a query and its passage alone decide."""
        shard, before, known = ShardResult([]), [*self.before], self.known
        if known is not None:
            mark_contaminated(draws, known, shard)
            before.append(lambda draw: reject_evaluation_query(draw, known))
        return ScreenedDraws(_select_passing(draws, before, shard), shard)


def choose_best(
    screened: ScreenedDraws, number: int, order: CandidateOrder, seen: QueryDeduplicator
) -> ShardResult:
    """Choose the best draw of each query that repeats no query kept before, of the shard with this
    number."""
    place = 0
    for best_first in order(group_by_query(screened.draws)):
        _keep_one(best_first, make_ordinal(number, place), seen, screened.shard)
        place += len(best_first)
        count_within_shard(len(best_first))
    seen.flush()
    return screened.shard


def make_row_filters(filters: Filters) -> list[Filter]:
    """Make the filters that a query and its passage decide, evaluation queries aside.

    Raises:
        UserError: if a language is unknown to the detector.
    """
    chosen = [make_length_filter(filters.min_words, filters.max_words)]
    if filters.refusals:
        chosen.append(reject_refusals)
    chosen.append(make_language_filter(filters.languages))
    if filters.max_copied is not None:
        chosen.append(make_copy_filter(filters.max_copied))
    return chosen


def make_retrieval_filters(filters: Filters) -> list[Filter]:
    """Make the filters that need each query's search."""
    chosen = []
    if filters.round_trip is not None:
        chosen.append(make_round_trip_filter(filters.round_trip))
    if filters.min_similarity is not None:
        chosen.append(make_similarity_filter(filters.min_similarity))
    return chosen


def _select_passing(
    draws: list[GeneratedQuery], filters: Sequence[Filter], shard: ShardResult
) -> list[GeneratedQuery]:
    """Return the draws that no filter drops; each other one is dropped by the first that does."""
    passing = []
    for draw in draws:
        reason = next((r for f in filters if (r := f(draw)) is not None), None)
        if reason is None:
            passing.append(draw)
        else:
            _drop(draw, reason, shard)
            count_within_shard()
    return passing


def _keep_one(
    draws: list[GeneratedQuery], first: int, seen: QueryDeduplicator, shard: ShardResult
) -> None:
    """Keep the first draw that repeats no kept query; `first` is the first draw's ordinal."""
    kept = False
    for own, draw in enumerate(draws, first):
        reason = "not the best draw" if kept else seen.find_reason(draw.query, own, draw.bands)
        if reason is not None:
            _drop(draw, reason, shard)
            continue
        kept = True
        seen.add(draw.query, own)
        shard.counts["kept"] += 1
        shard.rows.append(_make_query_row(draw.row))


def _drop(draw: GeneratedQuery, reason: str, shard: ShardResult) -> None:
    shard.counts[f"dropped: {reason}"] += 1
    shard.dropped.append({"item_id": draw.row["query_id"], "reason": reason, "text": draw.query})


def _make_query_row(row: Row) -> Row:
    """Return a PARSED row as a QUERIES row, without the number of the draw in its id."""
    columns = {column: row[column] for column in QUERIES.columns}
    return columns | {"query_id": row["query_id"].removesuffix(f".{row['draw']}")}
