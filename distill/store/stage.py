"""One stage of a run: a folder of shards that commit atomically, under a fingerprint of everything
that its result depends on."""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from distill.errors import UserError
from distill.files.atomic import commit_bytes, read_json, write_json
from distill.object_store.no_mirror import NO_MIRROR, Mirror
from distill.runtime.interrupt import Interrupt
from distill.runtime.progress import Progress
from distill.store.integrity import (
    check_stage,
    list_changed_shards,
    measure_shard,
    note_verified,
    read_manifest,
    record_files,
)
from distill.store.shard_bytes import (
    EncodedShard,
    encode_result,
    iterate_shards,
    open_encoded,
    pack_shard,
    settle_shards,
    unpack_shard,
)
from distill.store.shards import list_shards, make_shard_name, read_shard_number
from distill.store.tables import Row, Table, read_rows
from distill.workers.batch_queue import sort_results
from distill.workers.device import ExecutionNotes
from distill.workers.local import LOCAL
from distill.workers.protocol import (
    HERE,
    LazyBatches,
    Opens,
    OpenWork,
    ShareFormat,
    WorkerJob,
    WorkerNeeds,
    Workers,
    subtract_counts,
)

T = TypeVar("T")
_logger = logging.getLogger(__name__)
_MANY_SHARDS = 20_000


def fingerprint(stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Hash everything that changes a stage's result, to 16 hex digits."""
    body = json.dumps([stage, settings, inputs], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(body.encode()).hexdigest()[:16]


@dataclass
class ShardResult:
    """The rows of one shard, its dropped rows, and its counts. `beside` is what the driver keeps
    elsewhere before the shard is committed, such as new judgements."""

    rows: list[Row]
    counts: Counter[str] = field(default_factory=Counter)
    dropped: list[Row] = field(default_factory=list)
    beside: Any = None


@dataclass(frozen=True)
class Stage:
    """One stage's folder under a fingerprint. Its manifest and the figures of its shards lie in the
    hidden `.stage/`, so that the folder opens with any Parquet reader."""

    name: str
    folder: Path
    fingerprint: str
    workers: Workers = field(default=LOCAL, compare=False, repr=False)
    """Who does the stage's work; in a worker, only itself."""
    mirror: Mirror = field(default=NO_MIRROR, compare=False, repr=False)
    """The run's copy in an object store, to which this process alone writes."""
    prepared: float = field(default=0.0, compare=False, repr=False)
    """Seconds of the stage's work that was done before it was opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Stage, (self.name, self.folder, self.fingerprint)

    @property
    def metadata_dir(self) -> Path:
        """The folder of the manifest and the shards' figures."""
        return self.folder / ".stage"

    @property
    def manifest(self) -> dict[str, Any]:
        """The stage's manifest, read again."""
        return read_manifest(self.metadata_dir / "manifest.json")

    @property
    def complete(self) -> bool:
        """Whether the stage was finished."""
        return bool(self.manifest["complete"])

    def finish(
        self, beside: Sequence[str] = (), /, tokens: Mapping[str, int] | None = None, **figures: Any
    ) -> None:
        """Add the shards' figures up into the manifest, record the checksums of all files, and mark
        the stage complete. What was made from shards that now have other bytes is set aside.

        Args:
            beside: names of files in `.stage/` that are to be recorded, too.
            tokens: what engines have used becomes the figure `tokens`.
            figures: `seconds`, `rows` and `counts` replace or extend the shards' sums, to which
                the seconds of its preparation belong; others are written as they are.
        """
        manifest = self.manifest
        files = record_files(self, beside)
        for name in list_changed_shards(self, files):
            _logger.warning(
                "%s was made again with other bytes than before: what was made from it is set "
                "aside and made again",
                self.folder / name,
            )
            _set_dependants_aside(self, self.mirror)
        seconds, rows, counts = self.prepared, 0, Counter[str]()
        for path in self.list_shard_figures():
            shard = read_json(path)
            seconds += shard["seconds"]
            rows += shard["rows"]
            counts.update(shard["counts"])
        manifest |= {
            "seconds": round(figures.pop("seconds", seconds), 3),
            "rows": figures.pop("rows", rows),
            "counts": dict(sorted(counts.items())) | figures.pop("counts", {}),
            "files": files,
            "complete": True,
        }
        if tokens is not None:
            figures["tokens"] = dict(tokens)
        if figures:
            manifest["figures"] = figures
        write_json(self.metadata_dir / "manifest.json", manifest)
        note_verified(self)
        self.mirror.finish(self.folder)

    def map_shards(
        self,
        table: Table,
        items: Sequence[T],
        work: Callable[[T], ShardResult],
        size: Callable[[T], int] = lambda item: 1,
        unit: str = "shards",
        key: str | None = None,
    ) -> None:
        """Do `work` in this process on every item whose shard is not there yet, and commit each as
        it is done. For a stage whose order, or whose objects, keep it in one process; see
        `map_on_workers`."""

        def open_here() -> AbstractContextManager[OpenWork[T, ShardResult]]:
            return nullcontext(OpenWork(lambda batch: [*map(work, batch)]))

        self.map_on_workers(table, items, open_here, HERE, size, unit, key=key)

    def map_on_workers(
        self,
        table: Table,
        items: Sequence[T],
        opens: Opens[T, Any],
        needs: WorkerNeeds,
        size: Callable[[T], int] = lambda item: 1,
        unit: str = "shards",
        together: int = 1,
        group: Callable[[T], Hashable] = lambda item: None,
        keep: Callable[[T, Any], None] | None = None,
        settle: Callable[[T, Any], ShardResult] | None = None,
        key: str | None = None,
        requests_a_unit: float = 0,
    ) -> dict[str, int] | None:
        """Have the run's workers do the items whose shards are not there yet, and commit each shard
        as it comes: workers compute, this process alone writes. Returns the tokens that their
        engines used; None where there is no engine.

        The figures and the dropped rows of a shard are written before the shard itself, whose
        rename is the commit: a shard that exists is never done again, one that does not is.

        On Ctrl-C the shards in flight are finished and committed; a second one does not wait.

        Args:
            items: one a shard. `together` items a worker, and their shards' rows, are in memory at
                a time, so items that only say where their rows are (a range, a path) keep memory
                flat.
            opens: opens the work, once a worker, by the first batch that it is given; the work
                returns a shard for each item. It has to be picklable (see `Opens`).
            needs: what a worker needs for it.
            size: how many `unit`s an item is; called for every item before the first is worked on.
            together: items in one call, for an engine that is faster with more at once.
            group: items of one group read the same data: one worker does them, one after the other.
            keep: keeps what a shard has `beside` its rows, in this process, before its commit.
            settle: makes an item's shard, in this process and in the items' order, of what the work
                returned for it: where a shard depends on those before. Else the work returns it.
            key: the recipe's key that makes the shards larger: named where they are too many.
            requests_a_unit: see `Progress`.

        Raises:
            KeyboardInterrupt: after SIGINT or SIGTERM.
        """
        paths = self._list_shard_paths(len(items))
        missing = self.list_missing(len(items))
        if self.complete and not missing:
            return None
        self._warn_of_many_shards(len(items), key)
        total = sum(size(item) for item in items)
        done = total - sum(size(items[i]) for i in missing)
        numbers = [missing[at : at + together] for at in range(0, len(missing), together)]
        job = WorkerJob(
            self.name,
            partial(open_encoded, opens, table) if settle is None else opens,
            LazyBatches(len(numbers), lambda n: [items[i] for i in numbers[n]]),
            needs,
            lambda n: group(items[numbers[n][0]]),
            None
            if settle
            else self._make_share_format(lambda n: [paths[i].stem for i in numbers[n]]),
        )
        file, name = self.metadata_dir / "manifest.json", f"stage {self.name}"
        notes = ExecutionNotes(file, name, self.folder, self.workers)
        with self.workers.begin(job) as team:
            before = dict(team.tokens()) if team.tokens else None
            with (
                Interrupt() as interrupt,
                Progress(
                    self.name, total, unit, done, team.tokens, requests_a_unit, lambda: team.note
                ) as progress,
            ):
                results = team.iterate_results(lambda: interrupt.is_requested)
                shards = iterate_shards(sort_results(results) if settle else results, numbers)
                if settle is not None:
                    shards = settle_shards(
                        shards,
                        lambda i, value: encode_result(table, settle(items[i], value)),
                        lambda: interrupt.is_requested,
                    )
                for i, shard, seconds in shards:
                    notes.note_devices(team.describe())
                    if keep is not None:
                        keep(items[i], shard.beside)
                    self.commit_shard(paths[i], shard, seconds)
                    progress.advance(size(items[i]))
                notes.add(team.describe())
                interrupt.stop_if_requested()
            if before is None or team.tokens is None:
                return None
            return subtract_counts(team.tokens(), before)

    def _warn_of_many_shards(self, count: int, key: str | None) -> None:
        if key is not None and count > _MANY_SHARDS:
            _logger.warning(
                "%s: %d shards, more than %d: so many files are slow to list and to open; raise "
                "%s for larger ones",
                self.folder,
                count,
                _MANY_SHARDS,
                key,
            )

    def _make_share_format(
        self, names: Callable[[int], Sequence[str]]
    ) -> ShareFormat[EncodedShard]:
        return ShareFormat(f"{self.name}-{self.fingerprint}", names, pack_shard, unpack_shard)

    def commit_shard(self, path: Path, shard: EncodedShard, seconds: float) -> None:
        """Write one shard: its dropped rows, its figures, and at last the rows themselves. Tests
        replace this to end a process between two commits."""
        dropped = self._commit_dropped(path.name, shard)
        figures = {
            "seconds": round(seconds, 3),
            "rows": shard.rows,
            "counts": dict(sorted(shard.counts.items())),
            "file": measure_shard(shard.data, shard.rows),
            **dropped,
        }
        figures_path = self.metadata_dir / f"{path.stem}.json"
        write_json(figures_path, figures)
        commit_bytes(path, shard.data)
        beside = self.metadata_dir / f"dropped-{path.name}"
        self.mirror.commit(self.folder, [*([beside] if dropped else []), figures_path, path])

    def list_shard_figures(self) -> list[Path]:
        """List the files with the figures of each shard, in the shards' order."""
        return sorted(self.metadata_dir.glob("part-*.json"), key=read_shard_number)

    def list_missing(self, count: int) -> list[int]:
        """List the numbers of the shards that are not there yet, of a table of `count` shards."""
        paths = enumerate(self._list_shard_paths(count))
        return [number for number, path in paths if not path.exists()]

    def list_dropped(self) -> list[Path]:
        """List the tables of dropped rows, in the shards' order."""
        return sorted(self.metadata_dir.glob("dropped-*.parquet"), key=read_shard_number)

    def sum_counts(self) -> Counter[str]:
        """Add up the counts of the shards that are committed so far."""
        counts: Counter[str] = Counter()
        for path in self.list_shard_figures():
            counts.update(read_json(path)["counts"])
        return counts

    def read_rows(self, table: Table) -> list[Row]:
        """Read all rows of the stage's table."""
        return list(read_rows(table, self.folder))

    def _list_shard_paths(self, count: int) -> list[Path]:
        """Make the paths of a table of `count` shards. An existing shard with an older, shorter
        name keeps it."""
        present = [*self.list_shard_figures(), *list_shards(self.folder)]
        stems = {read_shard_number(path): path.stem for path in present}
        names = (stems.get(number, make_shard_name(number, count)) for number in range(count))
        return [self.folder / f"{name}.parquet" for name in names]

    def _commit_dropped(self, name: str, shard: EncodedShard) -> dict[str, Any]:
        """Write a shard's dropped rows as a table beside it, where there are any. Returns what the
        shard's figures hold of that."""
        path = self.metadata_dir / f"dropped-{name}"
        if shard.dropped is None:
            path.unlink(missing_ok=True)  # of an earlier try
            return {}
        commit_bytes(path, shard.dropped)
        return {"dropped": measure_shard(shard.dropped, shard.dropped_rows)}


def open_stage(folder: Path) -> Stage:
    """Open a stage's folder as it stands, for reading.

    Raises:
        UserError: if it is no stage's folder.
    """
    path = folder / ".stage" / "manifest.json"
    if not path.exists():
        raise UserError(
            str(folder), "is not a stage of a run", "name a stage's folder inside a run's folder"
        )
    return Stage(folder.name, folder, str(read_manifest(path)["fingerprint"]))


def check_model_folder(folder: Path) -> None:
    """Refuse a model that a stage of a run made and that has changed since; say nothing of any
    other folder.

    Raises:
        UserError: naming the file and the remedy.
    """
    path = folder / ".stage" / "manifest.json"
    if not path.is_file():
        return
    try:
        manifest = read_manifest(path)
    except UserError:  # the folder has checksums of nothing: the run itself says so
        return
    if manifest["complete"]:
        check_stage(Stage(folder.name, folder, manifest["fingerprint"]))


def _set_dependants_aside(stage: Stage, mirror: Mirror) -> None:
    """Move the stages that were made from this one, and those made from them, to `superseded/`,
    under names from which they do not come back by themselves."""
    run = stage.folder.parent
    # Rounds are runs inside the run, made from its stages.
    of_rounds = run.glob("round-*/*/.stage/manifest.json")
    for path in sorted([*run.glob("*/.stage/manifest.json"), *of_rounds]):
        folder = path.parent.parent
        if not path.exists() or stage.name not in read_manifest(path)["inputs"]:
            continue
        _set_dependants_aside(open_stage(folder), mirror)
        target = folder.parent / "superseded" / f"{folder.name}-outdated"
        while target.exists():
            target = target.with_name(target.name + "-again")
        target.parent.mkdir(exist_ok=True)
        mirror.move(folder, target)
        os.replace(folder, target)
