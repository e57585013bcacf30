"""A run's copy in an object store: an ordinary copy of its folder, file by file.

The folder stays the working copy, which decides; the store fills in what the folder lacks. A
stage's manifest is `complete` in the store only when every other file of the stage is there, and no
file counts there before the manifest of its stage.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.files.atomic import read_json
from distill.object_store.address import parse_address
from distill.object_store.copy_in import MANIFEST, CopyIn, Stored
from distill.object_store.files import (
    list_files,
    list_for_workers,
    list_loose_files,
    list_training,
)
from distill.object_store.lease import LEASE_NAME, Lease
from distill.object_store.no_mirror import NO_MIRROR, PARTS, Mirror
from distill.object_store.objects import ObjectFolder
from distill.object_store.record import CopiedFile, CopyRecord, check_no_copy
from distill.object_store.snapshot import measure_state, take_snapshot
from distill.object_store.uploads import Upload, Uploads
from distill.runtime.progress import show_activity

SNAPSHOT_EVERY = 300.0
"""Seconds between two copies of what has no commits: SQLite files and checkpoints."""
_AFTER_A_FAULT = 20.0
"""Seconds that a job which ends with an error waits at most for a store that takes nothing."""
_logger = logging.getLogger(__name__)


class StoreMirror(Mirror):
    """The mirror of a run that is also kept in a store.

    Raises:
        UserError: if the store cannot be used, or another job writes it.
    """

    def __init__(self, run: Path, objects: ObjectFolder) -> None:
        self._run = run
        self._objects = objects
        self._record = CopyRecord(run)
        self._lease = Lease(objects, self._record.run_id)
        self._begun_lock = threading.Lock()
        self._stages: set[str] = set()
        """Stages whose manifest is in the store, under the fingerprint that they have here."""
        self._ours: dict[Path, None] = {}
        """Stages that this process has opened."""
        self._snapshots: dict[str, tuple[int, ...]] = {}
        self._snapshot_lock = threading.Lock()
        self._ended = threading.Event()
        self._etags: dict[str, str] = {}
        self._copy_in = CopyIn(run, objects, self._record, self._etags)
        try:
            with show_activity(f"listing {objects.address}"):
                there = {one.name: one.etag for one in objects.list() if one.name != LEASE_NAME}
            self._etags.update(there)
            self._copy_in.fetch_first()
        except BaseException:
            self._lease.release()
            raise
        self._uploads = Uploads(str(objects.address))
        threading.Thread(target=self._copy_regularly, daemon=True).start()

    def take_over(self, stage: Path) -> None:
        """Fetch what a stage's folder lacks of the same stage in the store. Another stage of its
        name is moved aside there."""
        if stage in self._ours:
            return
        self._ours[stage] = None
        name = self._make_name(stage)
        local = read_json(stage / ".stage" / "manifest.json")
        stored = (
            Stored(local["fingerprint"], local["complete"])
            if self._is_copied(name + MANIFEST)
            else self._copy_in.read_manifest(name)
        )
        if stored is None:
            self._delete(self._list_stored(name))
        elif stored.fingerprint != local["fingerprint"]:
            self._move_aside(stage, stored)
        else:
            self._stages.add(name)
            if stored.complete or not local["complete"]:
                self._copy_in.fetch_stage(name, whole=stored.complete and not local["complete"])

    def begin(self, stage: Path) -> None:
        """Note that a stage's folder was begun again."""
        name = self._make_name(stage)
        if (stored := self._copy_in.read_manifest(name)) is not None:
            self._move_aside(stage, stored)
        self._ours[stage] = None
        self._delete(self._list_stored(name))
        self._stages.discard(name)
        self._uploads.add(partial(self._put_all, stage, []))

    def commit(self, stage: Path, files: Sequence[Path]) -> None:
        """Copy the files of a shard, in this order, when there is time.

        Raises:
            UserError: if another job has taken the store over.
        """
        self._uploads.add(partial(self._put_all, stage, [self._make_name(file) for file in files]))

    def copy_part(self, path: Path, read: Callable[[], bytes]) -> None:
        """Copy a part of a file that still grows, under a path of its own, when there is time. It
        goes when the whole file is there.

        Args:
            path: in a folder named as the file, and `PARTS`.

        Raises:
            UserError: if another job has taken the store over.
        """
        name = path.resolve().relative_to(self._run.resolve()).as_posix()
        if name not in self._etags:
            self._uploads.add(partial(self._put_part, name, read))

    def copy_for_workers(self) -> None:
        """Copy what workers on other machines read, and wait until it is there: what lies beside
        the stages, and what stages under way have for them beside their shards.

        Raises:
            UserError: if the store stays away, or another job has taken it over.
        """
        self._uploads.drain()
        self._add_loose()
        for stage in list(self._ours):
            if not _is_complete(stage):
                self._add_all(stage, map(self._make_name, list_for_workers(stage)))
        self._uploads.drain()
        self._add_removal_of_parts()
        self._uploads.drain()

    def finish(self, stage: Path) -> None:
        """Copy all that the stage still lacks in the store, and its manifest last.

        Raises:
            UserError: if the store stays away, or another job has taken it over.
        """
        self._ours[stage] = None
        manifest = self._make_name(stage) + MANIFEST
        if self._is_copied(manifest):
            return
        with show_activity(f"copying {stage.name} to {self._objects.address}"):
            self._uploads.drain()  # so that nothing is copied twice
            files = [self._make_name(path) for path in list_files(stage)]
            self._add_all(stage, files)
            gone = {*self._list_stored(self._make_name(stage))} - {*files, manifest}
            self._add(partial(self._delete, [name]) for name in gone)
            self._add_loose()
            self._uploads.drain()
            self._add_removal_of_parts()
            self._uploads.add(partial(self._put, manifest))
            self._uploads.drain()

    def move(self, source: Path, target: Path) -> None:
        """Move what the store has of a stage, before its folder is renamed. Aside, its manifest
        goes last, and back from there first: files without one count for nothing."""
        self._ours.pop(source, None)
        name, to = self._make_name(source), self._make_name(target)
        names = self._list_stored(name)
        if not names:
            return
        manifest = [one for one in names if one == name + MANIFEST]
        others = [one for one in names if one != name + MANIFEST]
        aside = "superseded" in to.split("/")
        with show_activity(f"moving {name} in {self._objects.address}"):
            for several in (others, manifest) if aside else (manifest, others):
                self._uploads.drain()
                self._add(
                    partial(self._rename, one, to + one.removeprefix(name)) for one in several
                )
            self._uploads.drain()
        self._stages.discard(name)

    def close(self, failed: bool) -> None:
        """Copy what is left, and give the lease back.

        Args:
            failed: whether the job ends with an error, which another one must not hide.

        Raises:
            UserError: if the store stays away.
        """
        self._ended.set()
        try:
            if not (failed and self._uploads.gave_up):
                self._copy_rest(_AFTER_A_FAULT if failed else None)
        except UserError as fault:
            if not failed:
                raise
            _logger.warning("%s: not all was copied: %s", fault.where, fault.what)
        finally:
            self._uploads.close()
            self._lease.release()

    def _move_aside(self, stage: Path, stored: Stored) -> None:
        """Keep another stage of the same name, which nobody may have elsewhere."""
        mark = f"{stage.name}-{stored.fingerprint or 'unmarked'}"
        self.move(stage, stage.parent / "superseded" / mark)
        self._ours[stage] = None

    def _copy_rest(self, patience: float | None) -> None:
        self._uploads.drain(patience=patience)
        complete = []
        for stage in list(self._ours):
            self._add_all(stage, map(self._make_name, list_files(stage)))
            self._uploads.add(partial(self._put_training, stage))
            if _is_complete(stage):
                complete.append(self._make_name(stage) + MANIFEST)
        self._add_loose()
        self._add_snapshots()
        self._uploads.drain(patience=patience)
        self._add_removal_of_parts()
        for manifest in complete:
            self._uploads.add(partial(self._put, manifest))
        self._uploads.drain(patience=patience)

    def _copy_regularly(self) -> None:
        while not self._ended.wait(SNAPSHOT_EVERY):
            try:
                if not self._snapshot_lock.locked():  # a large one may take longer than the pause
                    self._add_snapshots()
                for stage in list(self._ours):
                    self._uploads.add(partial(self._put_training, stage))
            except UserError:  # the job itself meets it at its next shard
                return

    def _add_all(self, stage: Path, names: Iterable[str]) -> None:
        changed = (name for name in names if not self._is_copied(name))
        self._add(partial(self._put_all, stage, [name]) for name in changed)

    def _add_loose(self) -> None:
        names = map(self._make_name, list_loose_files(self._run))
        self._add(partial(self._put, name) for name in names if not self._is_copied(name))

    def _add_removal_of_parts(self) -> None:
        """Remove the parts of the files that are in the store as a whole."""
        parts = [name for name in list(self._etags) if f"{PARTS}/" in name]
        whole = [name for name in parts if self._is_copied(name.partition(f"{PARTS}/")[0])]
        self._add(partial(self._delete, [name]) for name in whole)

    def _add(self, uploads: Iterable[Upload]) -> None:
        """Queue uploads of which none may be forgotten."""
        for upload in uploads:
            while not self._uploads.add(upload):
                self._uploads.drain(below=100)

    def _add_snapshots(self) -> None:
        for path in self._run.glob("*.sqlite"):
            self._uploads.add(partial(self._put_snapshot, path))

    def _is_copied(self, name: str) -> bool:
        try:
            file = (self._run / name).stat()
        except FileNotFoundError:
            return False
        return self._record.is_current(name, file, self._etags.get(name))

    def _put_all(self, stage: Path, names: Sequence[str]) -> None:
        """Copy files of a stage, after its manifest has been there, not as complete."""
        name = self._make_name(stage)
        with self._begun_lock:
            if name not in self._stages:
                try:
                    manifest: dict[str, Any] = read_json(stage / ".stage" / "manifest.json")
                except FileNotFoundError:  # set aside meanwhile
                    return
                self._lease.check()
                begun = json.dumps(manifest | {"complete": False}, indent=2, sort_keys=True)
                self._etags[name + MANIFEST] = self._objects.put(name + MANIFEST, begun.encode())
                self._stages.add(name)
        for one in names:
            self._put(one)

    def _put_training(self, stage: Path) -> None:
        """Copy what a training under way would resume from, and delete what is older, or all of it
        where the stage is complete."""
        files = (
            [] if _is_complete(stage) else [self._make_name(path) for path in list_training(stage)]
        )
        if files:
            self._put_all(stage, files)
        stored = self._list_stored(f"{self._make_name(stage)}/.stage/training")
        self._delete([name for name in stored if name not in set(files)])

    def _put(self, name: str) -> None:
        """Copy a file, unless it is there as it is, or gone."""
        path = self._run / name
        try:
            file = path.stat()
            if self._record.is_current(name, file, self._etags.get(name)):
                return
            self._lease.check()
            etag = self._objects.put_file(name, path)
        except FileNotFoundError:
            return
        self._etags[name] = etag
        self._record.add(name, CopiedFile(file.st_size, file.st_mtime_ns, etag))

    def _put_part(self, name: str, read: Callable[[], bytes]) -> None:
        self._lease.check()
        try:
            self._etags[name] = self._objects.put(name, read())
        except FileNotFoundError:  # set aside meanwhile
            return

    def _put_snapshot(self, path: Path) -> None:
        """Copy an SQLite file that was written since its last snapshot. One upload at a time: two
        would write the same file beside it."""
        with self._snapshot_lock:
            self._put_new_snapshot(path)

    def _put_new_snapshot(self, path: Path) -> None:
        name, state = self._make_name(path), measure_state(path)
        beside = path.with_name(f".{path.name}.snapshot.part")
        if self._snapshots.get(name) == state or not take_snapshot(path, beside):
            return
        try:
            self._lease.check()
            etag = self._objects.put_file(name, beside)
        finally:
            beside.unlink(missing_ok=True)
        self._etags[name] = etag
        self._record.add(name, CopiedFile(0, 0, etag))
        self._snapshots[name] = state

    def _rename(self, source: str, target: str) -> None:
        self._lease.check()
        self._objects.rename(source, target)
        if (etag := self._etags.pop(source, None)) is not None:
            self._etags[target] = etag

    def _delete(self, names: Sequence[str]) -> None:
        for name in sorted(names, key=lambda one: one.endswith(MANIFEST)):
            self._lease.check()
            self._objects.delete(name)
            self._etags.pop(name, None)

    def _list_stored(self, stage: str) -> list[str]:
        return [name for name in list(self._etags) if name.startswith(f"{stage}/")]

    def _make_name(self, path: Path) -> str:
        return path.relative_to(self._run).as_posix()


def _is_complete(stage: Path) -> bool:
    try:
        return bool(read_json(stage / ".stage" / "manifest.json")["complete"])
    except FileNotFoundError:  # set aside
        return False


@contextmanager
def open_mirror(run: Path, address: str | None) -> Iterator[Mirror]:
    """Open the copy of a run in a store; at the end what is left is copied.

    Args:
        run: the run's folder, which this process alone writes.
        address: of the store; None for a run that is kept in its folder alone.

    Raises:
        UserError: if the store cannot be used, another job writes it, or it stays away at the end.
    """
    if address is None:
        check_no_copy(run)
        yield NO_MIRROR
        return
    mirror = StoreMirror(run, ObjectFolder(parse_address(address)))
    try:
        yield mirror
    except BaseException:
        mirror.close(failed=True)
        raise
    mirror.close(failed=False)
