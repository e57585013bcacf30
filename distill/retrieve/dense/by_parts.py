"""Search for the queries of a whole stage in a corpus that is larger than a machine's memory.

Queries are embedded first, in groups. Then each group is searched in each part of the corpus: a
worker holds one part and does group after group, so that the corpus is read once for all queries,
and not once for some of them. The process that writes the run merges what the parts give. Scores
are exact, so the merged rows are those of a search of the whole, byte for byte (see `exact`).
"""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from distill.embed.encoder import Encoder, Vectors
from distill.embed.on_workers import SentEncoder
from distill.embed.vectors.vector_store import open_vectors
from distill.retrieve.dense.group_files import (
    BestRows,
    SearchGroup,
    decode_arrays,
    encode_arrays,
    make_damage_error,
    make_empty_best,
    merge_best,
    read_arrays,
    write_arrays,
)
from distill.retrieve.dense.part_work import (
    PartedSearch,
    PartOfSearch,
    open_embedding,
    open_part_search,
    read_group,
)
from distill.retrieve.dense.search_cache import SearchCache
from distill.retrieve.exact import RowNumbers
from distill.retrieve.index import compute_parts
from distill.runtime.interrupt import Interrupt
from distill.runtime.progress import Progress
from distill.store.stage import Stage
from distill.workers.device import ExecutionNotes
from distill.workers.protocol import LazyBatches, ShareFormat, WorkerJob

T = TypeVar("T")
R = TypeVar("R", SearchGroup, BestRows)


class FoundRows(NamedTuple):
    """The best passages found for a batch of queries: their scores and rows, (queries, k), and the
    queries' vectors, (queries, dimensions)."""

    vectors: Vectors
    scores: Vectors
    rows: RowNumbers


class FinishedSearch:
    """The results of a search, by the number of the batch. It can be sent to workers, which read
    its files."""

    def __init__(self, search: PartedSearch) -> None:
        self._search = search
        self._held: tuple[int, SearchGroup, FoundRows] | None = None

    def read(self, batch: int) -> FoundRows:
        """Read what was found for a batch."""
        number = batch // self._search.together
        if self._held is None or self._held[0] != number:
            group = read_group(self._search, number)
            self._held = number, group, _join(self._search, number, group)
        _, group, found = self._held
        ends = [0, *np.cumsum(group.sizes).tolist()]
        at = batch - number * self._search.together
        place = slice(ends[at], ends[at + 1])
        return FoundRows(found.vectors[place], found.scores[place], found.rows[place])

    def remove_files(self) -> None:
        """Remove the files, which nobody needs once the stage's shards are there."""
        shutil.rmtree(self._search.folder.parent, ignore_errors=True)


def search_by_parts(
    stage: Stage,
    search: PartedSearch,
    encoder: Encoder,
    cache: SearchCache,
    size: Callable[[int], int],
) -> FinishedSearch:
    """Search for the queries of all batches whose shards the stage lacks. What is done stays done
    when the process is killed.

    Args:
        encoder: of the queries.
        cache: keeps what is found, where that is to be kept.
        size: how many queries a batch has at most, for the progress.

    Raises:
        KeyboardInterrupt: after SIGINT or SIGTERM.
    """
    _make_folder(search.folder)
    groups = sorted({batch // search.together for batch in stage.list_missing(search.batches)})
    sizes = {group: sum(map(size, search.list_batches(group))) for group in groups}
    _embed_groups(stage, search, encoder, cache, sizes)
    _search_groups(stage, search, sizes)
    for group in groups if cache.is_used else []:
        _keep(search, cache, group)
    return FinishedSearch(search)


def _make_folder(folder: Path) -> None:
    """Make a search's folder in the place of that of another layout."""
    if not folder.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)


def _embed_groups(
    stage: Stage,
    search: PartedSearch,
    encoder: Encoder,
    cache: SearchCache,
    sizes: dict[int, int],
) -> None:
    missing = [
        group for group in sizes if read_arrays(SearchGroup, search.make_group_path(group)) is None
    ]
    job = WorkerJob(
        f"{stage.name}: embed queries",
        partial(open_embedding, search, SentEncoder(encoder), cache),
        LazyBatches(len(missing), lambda number: [missing[number]]),
        search.embedding_needs,
        share=_make_share(search, "embed", SearchGroup, [f"group-{group}" for group in missing]),
    )

    def commit(number: int, embedded: SearchGroup) -> int:
        write_arrays(search.make_group_path(missing[number]), embedded)
        return sizes[missing[number]]

    _do(stage, job, commit, sum(sizes.values()), sum(sizes[group] for group in missing), "queries")


def _search_groups(stage: Stage, search: PartedSearch, sizes: dict[int, int]) -> None:
    parts = len(_compute_bounds(search))
    done = {group: _read_done(search, group, parts) for group in sizes}
    wanted = {group: of for group, of in done.items() if of is not None}
    missing = [
        PartOfSearch(part, group)
        for part in range(parts)
        for group, of in wanted.items()
        if not of[part]
    ]
    names = [f"part-{part}-group-{group}" for part, group in missing]
    job = WorkerJob(
        f"{stage.name}: search part by part",
        partial(open_part_search, search),
        LazyBatches(len(missing), lambda number: [missing[number]]),
        search.search_needs,
        lambda number: missing[number].part,
        _make_share(search, "parts", BestRows, names),
    )

    def commit(number: int, found: BestRows) -> int:
        group = missing[number].group
        best = _read_best(search, group, parts)
        if not np.array_equal(best.mark, found.mark):  # of queries that were embedded anew since
            return sizes[group]
        merged = merge_best(best, found)
        path = search.make_best_path(group)
        write_arrays(path, merged)
        if merged.parts.all():
            stage.mirror.commit(stage.folder, [path])
        return sizes[group]

    total = parts * sum(sizes[group] for group in wanted)
    left = sum(sizes[group] for _, group in missing)
    _do(stage, job, commit, total, left, "queries, a part each")


def _do(
    stage: Stage,
    job: WorkerJob[T, R],
    commit: Callable[[int, R], int],
    total: int,
    left: int,
    unit: str,
) -> None:
    """Have the run's workers do a job, and commit each result as it comes.

    Args:
        commit: of a batch's number and result; returns how many units it was.
    """
    if not job.batches:
        return
    file = stage.metadata_dir / "manifest.json"
    notes = ExecutionNotes(file, f"stage {stage.name}", stage.folder, stage.workers)
    with stage.workers.begin(job) as team, Interrupt() as interrupt:
        with Progress(
            job.name, total, unit, total - left, requests_a_unit=0, tell=lambda: team.note
        ) as progress:
            for number, values, _ in team.iterate_results(lambda: interrupt.is_requested):
                notes.note_devices(team.describe())
                progress.advance(commit(number, values[0]))
            notes.add(team.describe())
        interrupt.stop_if_requested()


def _make_share(
    search: PartedSearch, what: str, kind: type[R], names: Sequence[str]
) -> ShareFormat[R]:
    key = f"{search.folder.name}-{what}"
    return ShareFormat(key, lambda n: [names[n]], encode_arrays, partial(decode_arrays, kind))


def _keep(search: PartedSearch, cache: SearchCache, number: int) -> None:
    group, best = read_group(search, number), _read_complete(search, number)
    keys = [key.tobytes() for key in group.keys[~group.known]]
    cache.keep(keys, best.scores, best.rows)


def _compute_bounds(search: PartedSearch) -> list[tuple[int, int]]:
    return compute_parts(search.retriever, open_vectors(search.corpus))


def _read_done(search: PartedSearch, number: int, parts: int) -> NDArray[np.bool_] | None:
    """Read which parts a group was searched in; None where all its queries are known."""
    group = read_group(search, number, "known", "mark")
    if group.known.all():
        return None
    best = read_arrays(BestRows, search.make_best_path(number))
    same = best is not None and np.array_equal(best.mark, group.mark)
    return best.parts if best is not None and same else np.zeros(parts, np.bool_)


def _read_best(search: PartedSearch, number: int, parts: int) -> BestRows:
    """Read what was found for a group so far. What is of other queries is left aside."""
    group = read_group(search, number, "known", "mark")
    best = read_arrays(BestRows, search.make_best_path(number))
    if best is None or not np.array_equal(best.mark, group.mark):
        return make_empty_best(group, search.depth, parts)
    return best


def _read_complete(search: PartedSearch, number: int) -> BestRows:
    best = _read_best(search, number, len(_compute_bounds(search)))
    if len(best.scores) and not best.parts.all():
        raise make_damage_error(search.make_best_path(number))
    return best


def _join(search: PartedSearch, number: int, group: SearchGroup) -> FoundRows:
    """Join what is known of a group's queries and what was found for the others."""
    best = _read_complete(search, number)
    scores, rows = group.scores.copy(), group.rows.copy()
    scores[~group.known] = best.scores[:, : scores.shape[1]]
    rows[~group.known] = best.rows[:, : rows.shape[1]]
    return FoundRows(group.vectors, scores, rows)
