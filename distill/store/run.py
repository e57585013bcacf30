"""A run's folder: one sub-folder a stage, each with a fingerprint, shards that commit atomically,
and a manifest. Killed at any moment, the same command continues and ends with the same bytes."""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from filelock import FileLock, Timeout

from distill.errors import UserError
from distill.files.atomic import commit_bytes, explain_os_error, read_json, write_json
from distill.runtime.interrupt import Interrupt
from distill.runtime.processes import is_main
from distill.runtime.progress import Progress, TokenCounts
from distill.store.integrity import (
    FORMAT,
    differs_from_before,
    measure_shard,
    note_verified,
    read_manifest,
    record_files,
    repair_stage,
)
from distill.store.local_name import with_paths
from distill.store.shards import shard_name, shard_number, shards
from distill.store.tables import DROPPED, Row, Table, encode_shard, read_rows

Overwrite = Literal["never", "stale", "always"]
T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_MANY_SHARDS = 20_000
_VERSIONED = (
    "torch transformers sentence-transformers faiss-cpu faiss-gpu bm25s datasets mteb numpy pyarrow"
)


def fingerprint(stage: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """16 hex digits over everything that changes a stage's result."""
    body = json.dumps([stage, settings, inputs], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(body.encode()).hexdigest()[:16]


@dataclass
class ShardResult:
    """What the work on one shard yields: its rows, and what it counted on the way."""

    rows: list[Row]
    counts: Counter[str] = field(default_factory=Counter)
    dropped: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    """One stage's folder under a fingerprint. Bookkeeping lives in its hidden `.stage/`, so that
    the folder opens with any Parquet reader."""

    name: str
    folder: Path
    fingerprint: str

    @property
    def book(self) -> Path:
        return self.folder / ".stage"

    @property
    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.book / "manifest.json")

    @property
    def complete(self) -> bool:
        return bool(self.manifest["complete"])

    def finish(self, beside: Sequence[str] = (), /, **figures: Any) -> None:
        """Add the shards' figures up into the manifest, record the checksums of all files, and mark
        the stage complete. What was made from shards that now have other bytes is set aside.

        Args:
            beside: names of files in the bookkeeping that are to be recorded, too.
        """
        manifest = self.manifest
        files = record_files(self, beside)
        for name in differs_from_before(self, files):
            _LOG.warning(
                "%s was made again with other bytes than before: what was made from it is set "
                "aside and made again",
                self.folder / name,
            )
            _set_dependants_aside(self)
        seconds, rows, counts = 0.0, 0, Counter[str]()
        for path in self.books():
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
        if figures:
            manifest["figures"] = figures
        write_json(self.book / "manifest.json", manifest)
        note_verified(self)

    def map_shards(
        self,
        table: Table,
        items: Sequence[T],
        work: Callable[[T], ShardResult],
        size: Callable[[T], int] = lambda item: 1,
        unit: str = "shards",
        tokens: TokenCounts | None = None,
        key: str | None = None,
    ) -> None:
        """Do `work` on every item whose shard is not there yet, and commit each as it is done. See
        `map_together`."""
        self.map_together(table, items, lambda some: [*map(work, some)], 1, size, unit, tokens, key)

    def map_together(
        self,
        table: Table,
        items: Sequence[T],
        work: Callable[[Sequence[T]], Sequence[ShardResult]],
        together: int,
        size: Callable[[T], int] = lambda item: 1,
        unit: str = "shards",
        tokens: TokenCounts | None = None,
        key: str | None = None,
    ) -> None:
        """Do `work` on all items whose shards are not there yet, so many of them together, for an
        engine that is busier with more at once, and commit their shards.

        The figures and the dropped rows of a shard are written before the shard itself, whose
        rename is the commit: a shard that exists is never done again, one that does not is.

        On Ctrl-C the shards in flight are finished and committed; a second one does not wait.

        Args:
            items: one a shard. `together` items, and their shards' rows, are held at a time, so
                items that only say where their rows are (a range, a path) keep memory flat.
            work: gives a shard for each item.
            size: how many `unit`s an item is; asked of every item before the first is worked on.
            tokens: an engine's counters, for the progress bar.
            key: of the recipe, which makes the shards larger: named where they are too many.

        Raises:
            KeyboardInterrupt: after SIGINT or SIGTERM.
        """
        paths = self._paths(len(items))
        missing = [i for i, path in enumerate(paths) if not path.exists()]
        if self.complete and not missing:
            return
        if key is not None and len(items) > _MANY_SHARDS:
            _LOG.warning(
                "%s: %d shards, more than %d: files so many are slow to list and to open; raise "
                "%s for larger ones",
                self.folder,
                len(items),
                _MANY_SHARDS,
                key,
            )
        total = sum(size(item) for item in items)
        done = total - sum(size(items[i]) for i in missing)
        with Interrupt() as interrupt, Progress(self.name, total, unit, done, tokens) as progress:
            for start in range(0, len(missing), together):
                some = missing[start : start + together]
                begun = time.perf_counter()
                shards = work([items[i] for i in some])
                seconds = (time.perf_counter() - begun) / len(some)
                for i, shard in zip(some, shards, strict=True):
                    self._commit(table, paths[i], shard, seconds)
                    progress.advance(size(items[i]))
                interrupt.stop_if_asked()

    def _paths(self, count: int) -> list[Path]:
        """Of so many shards. What has a shorter name, as names used to be, keeps it."""
        named = {shard_number(path): path.stem for path in [*self.books(), *shards(self.folder)]}
        stems = (named.get(number, shard_name(number, count)) for number in range(count))
        return [self.folder / f"{stem}.parquet" for stem in stems]

    def _commit(self, table: Table, path: Path, shard: ShardResult, seconds: float) -> None:
        dropped = self._commit_dropped(path.name, shard.dropped)
        data = encode_shard(table, shard.rows)
        figures = {
            "seconds": round(seconds, 3),
            "rows": len(shard.rows),
            "counts": dict(sorted(shard.counts.items())),
            "file": measure_shard(data, len(shard.rows)),
            **dropped,
        }
        write_json(self.book / f"{path.stem}.json", figures)
        commit_bytes(path, data)

    def _commit_dropped(self, name: str, rows: list[Row]) -> dict[str, Any]:
        """A shard's dropped rows as a table beside it, where there are any, and what the shard's
        figures hold of that."""
        path = self.book / f"dropped-{name}"
        if not rows:
            path.unlink(missing_ok=True)  # of an earlier try
            return {}
        data = encode_shard(DROPPED, rows)
        commit_bytes(path, data)
        return {"dropped": measure_shard(data, len(rows))}

    def books(self) -> list[Path]:
        """Where the figures of the shards are kept, in the shards' order."""
        return sorted(self.book.glob("part-*.json"), key=shard_number)

    def counts(self) -> Counter[str]:
        """What the shards that stand have counted."""
        counts: Counter[str] = Counter()
        for path in self.books():
            counts.update(read_json(path)["counts"])
        return counts

    def rows(self, table: Table) -> list[Row]:
        return list(read_rows(table, self.folder))


class Run:
    """A run's folder, locked against a second writer while open.

    Raises:
        UserError: on entry if another process holds the folder; from `stage` if the folder was
            written under another fingerprint and `overwrite` is "never".
    """

    def __init__(self, folder: Path, overwrite: Overwrite = "never") -> None:
        self.folder = folder
        # Of several processes the first one makes what the others then find.
        self._first = is_main()
        self.overwrite: Overwrite = overwrite if self._first else "never"
        self._lock = FileLock(folder / ".lock")
        self._renewed: set[str] = set()

    def __enter__(self) -> "Run":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._first:
                return self
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                str(self.folder),
                "another process is writing this run",
                "wait for it to end, or give this run another folder with --run",
            ) from None
        except OSError as fault:
            raise explain_os_error(fault, self.folder) from fault
        for stray in self.folder.rglob(".*.part"):
            if stray.is_file():
                stray.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def stage(self, name: str, settings: Mapping[str, Any], inputs: Iterable[Stage] = ()) -> Stage:
        """Open a stage: continue it where its fingerprint is the same, else begin it anew.

        What stands under another fingerprint is moved to `superseded/`, never deleted, and comes
        back from there when its settings do.
        """
        marks = {stage.name: stage.fingerprint for stage in inputs}
        mark = fingerprint(name, settings, marks)
        found = self._found(Stage(name, self.folder / name, mark))
        if found == (before := fingerprint(name, with_paths(settings), marks)):
            mark = before
        stage = Stage(name, self.folder / name, mark)
        renew = self.overwrite == "always" and name not in self._renewed
        if found == mark and not renew:
            if self._first:
                repair_stage(stage)
            return stage
        if found is not None:
            if self.overwrite == "never":
                self._refuse(stage, settings, marks)
            self._supersede(stage, found)
        self._renewed.add(name)
        kept = self._superseded(name, mark)
        if kept.exists() and not renew:
            os.replace(kept, stage.folder)
            repair_stage(stage)
            return stage
        self._begin(stage, settings, marks)
        return stage

    def _found(self, stage: Stage) -> str | None:
        path = stage.book / "manifest.json"
        if not path.exists():
            return "" if stage.folder.exists() and any(stage.folder.iterdir()) else None
        return str(read_manifest(path)["fingerprint"])

    def _refuse(self, stage: Stage, settings: Mapping[str, Any], marks: Mapping[str, str]) -> None:
        path = stage.book / "manifest.json"
        before = read_manifest(path) if path.exists() else {"settings": {}, "inputs": {}}
        after = {"settings": json.loads(json.dumps(settings)), "inputs": dict(marks)}
        changed = [
            key
            for part in ("settings", "inputs")
            for key in sorted(before[part].keys() | after[part].keys())
            if before[part].get(key) != after[part].get(key)
        ]
        raise UserError(
            str(stage.folder),
            f"was written with another fingerprint; changed: {', '.join(changed) or 'unknown'}",
            "--overwrite stale redoes it and what depends on it (the old is kept in "
            "superseded/), or give this run another folder with --run",
        )

    def _superseded(self, name: str, mark: str) -> Path:
        return self.folder / "superseded" / f"{name}-{mark or 'unmarked'}"

    def _supersede(self, stage: Stage, found: str) -> None:
        target = self._superseded(stage.name, found)
        while target.exists():
            target = target.with_name(target.name + "-again")
        target.parent.mkdir(exist_ok=True)
        os.replace(stage.folder, target)

    def _begin(self, stage: Stage, settings: Mapping[str, Any], marks: Mapping[str, str]) -> None:
        manifest = {
            "format": FORMAT,
            "stage": stage.name,
            "fingerprint": stage.fingerprint,
            "settings": settings,
            "inputs": marks,
            "versions": versions(),
            "complete": False,
        }
        # Made beside and renamed, so that a folder without a manifest never stands here.
        fresh = self.folder / f".{stage.name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / ".stage").mkdir(parents=True)
        write_json(fresh / ".stage" / "manifest.json", manifest)
        if stage.folder.exists():
            stage.folder.rmdir()
        os.replace(fresh, stage.folder)


def open_stage(folder: Path) -> Stage:
    """A stage's folder as it stands, for reading."""
    path = folder / ".stage" / "manifest.json"
    if not path.exists():
        raise UserError(
            str(folder), "is not a stage of a run", "name a stage's folder inside a run's folder"
        )
    return Stage(folder.name, folder, str(read_manifest(path)["fingerprint"]))


def _set_dependants_aside(stage: Stage) -> None:
    """Move the stages that were made from this one, and those made from them, to `superseded/`,
    under names from which they do not come back by themselves."""
    run = stage.folder.parent
    # Rounds are runs inside the run, made from its stages.
    of_rounds = run.glob("round-*/*/.stage/manifest.json")
    for path in sorted([*run.glob("*/.stage/manifest.json"), *of_rounds]):
        folder = path.parent.parent
        if not path.exists() or stage.name not in read_manifest(path)["inputs"]:
            continue
        _set_dependants_aside(open_stage(folder))
        target = folder.parent / "superseded" / f"{folder.name}-outdated"
        while target.exists():
            target = target.with_name(target.name + "-again")
        target.parent.mkdir(exist_ok=True)
        os.replace(folder, target)


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    found = {"python": platform.python_version()}
    for name in ("distill", *_VERSIONED.split()):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
