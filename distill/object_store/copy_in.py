"""Fetch from a store what a run's folder lacks: manifests and what lies beside the stages at first,
a stage's files when the stage is opened."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from distill.errors import UserError
from distill.object_store.address import parse_address
from distill.object_store.no_mirror import PARTS
from distill.object_store.objects import ObjectChangedError, ObjectFolder
from distill.object_store.record import COPY_MARK, FOLDER, CopiedFile, CopyRecord
from distill.object_store.snapshot import merge_rows
from distill.runtime.progress import Progress

MANIFEST = "/.stage/manifest.json"
"""Follows a stage's name."""
_THREADS = 8
_PRIVATE = (".sqlite", "log.jsonl")


class Stored(NamedTuple):
    """The fields that are read of a stage's manifest in the store."""

    fingerprint: str
    complete: bool


class CopyIn:
    """Fetches into a run's folder.

    Args:
        etags: of the objects in the store, by their names.
    """

    def __init__(
        self, run: Path, objects: ObjectFolder, record: CopyRecord, etags: dict[str, str]
    ) -> None:
        self._run = run
        self._objects = objects
        self._record = record
        self._etags = etags

    def fetch_first(self) -> None:
        """Fetch the manifests of stages that are not in the folder, and missing files that are in
        no stage. The rows of SQLite files that another folder's job has copied are taken over."""
        manifests = [name for name in self._etags if name.endswith(MANIFEST)]
        stages = tuple(name.removesuffix(MANIFEST) + "/" for name in manifests)
        loose = [
            name
            for name in self._etags
            if not name.startswith(stages) and "superseded" not in name.split("/")
        ]
        loose = [name for name in loose if not self._has_whole_of_part(name)]
        mark = self._run / FOLDER / COPY_MARK
        databases = [name for name in loose if name.endswith(".sqlite")]
        self._fetch(
            [name for name in manifests if self._is_stage_missing(name, mark.exists())]
            + [name for name in loose if not (self._run / name).exists()],
            "what is known of the run",
        )
        for name in databases:
            self._take_rows(name)
        mark.unlink(missing_ok=True)  # what the folder has not is known from now on

    def _is_stage_missing(self, manifest: str, copied: bool) -> bool:
        """Return whether the folder has nothing of a stage, or what a worker has copied of it."""
        path = self._run / manifest
        return _is_empty(path.parent.parent) or (copied and not path.exists())

    def _has_whole_of_part(self, name: str) -> bool:
        """Return whether a file is here whose part this is."""
        whole, parts, _ = name.partition(f"{PARTS}/")
        return bool(parts) and (self._run / whole).exists()

    def read_manifest(self, stage: str) -> Stored | None:
        """Read what the store says of a stage; None if it has none of that name."""
        name = stage + MANIFEST
        if name not in self._etags:
            return None
        read = self._objects.read(name)
        if read is None:
            return None
        try:
            manifest = json.loads(read[0])
            return Stored(str(manifest["fingerprint"]), bool(manifest["complete"]))
        except (ValueError, KeyError, TypeError):
            return Stored("", False)

    def fetch_stage(self, stage: str, whole: bool) -> None:
        """Fetch the files of a stage that its folder lacks.

        Args:
            whole: whether the manifest replaces the folder's own, which is not complete.
        """
        below = [name for name in list(self._etags) if name.startswith(f"{stage}/")]
        manifest = stage + MANIFEST
        self._fetch([n for n in below if n != manifest and not (self._run / n).exists()], stage)
        if whole:
            self._fetch([manifest], f"{stage}'s manifest")

    def _fetch(self, names: Sequence[str], what: str) -> None:
        label = f"copying {what} from the store"
        self._etags |= fetch_files(self._objects, self._record, self._run, names, label)

    def _take_rows(self, name: str) -> None:
        copied = self._record.get(name)
        if copied is not None and copied.etag == self._etags[name]:
            return
        path = self._run / name
        other = path.with_name(f".{path.name}.stored.part")
        try:
            self._objects.fetch(name, other)
            merge_rows(path, other)
        finally:
            other.unlink(missing_ok=True)


def _is_empty(folder: Path) -> bool:
    return not folder.exists() or not any(folder.iterdir())


def fetch_files(
    objects: ObjectFolder, record: CopyRecord, folder: Path, names: Sequence[str], label: str
) -> dict[str, str]:
    """Write objects into files of a folder, and record them. Returns their etags; one that was
    deleted since it was listed has none.

    Raises:
        UserError: if the store cannot be read, the disk is full, or a name leads out of the folder.
    """
    for name in names:
        _check_name(name, objects)
    etags: dict[str, str] = {}

    def fetch(name: str) -> None:
        path = folder / name
        try:
            etags[name] = etag = objects.fetch(name, path)
        except ObjectChangedError:
            return
        if name.endswith(_PRIVATE):
            path.chmod(0o600)
        file = path.stat()
        # An SQLite file changes when it is opened: what is copied of it is known by the etag.
        known = (0, 0) if name.endswith(".sqlite") else (file.st_size, file.st_mtime_ns)
        record.add(name, CopiedFile(*known, etag))

    if not names:
        return etags
    with Progress(label, len(names), "files") as progress:
        pool = ThreadPoolExecutor(_THREADS)
        try:
            for future in as_completed([pool.submit(fetch, name) for name in names]):
                future.result()
                progress.advance()
        finally:
            pool.shutdown(cancel_futures=True)
    return etags


def _check_name(name: str, objects: ObjectFolder) -> None:
    """Refuse a name that would lead out of the run's folder.

    Raises:
        UserError: if it does.
    """
    if {"", ".", ".."} & {*name.split("/")} or PurePosixPath(name).is_absolute():
        raise UserError(
            str(objects.address),
            f"holds an object named {name[:100]!r}, which can be no file",
            "delete it there, or name another prefix",
        )


def list_stages(address: str) -> set[str]:
    """List the names of the stages that a store holds, begun or complete.

    Raises:
        UserError: if the store cannot be read.
    """
    names = (one.name for one in ObjectFolder(parse_address(address)).list())
    return {name.removesuffix(MANIFEST) for name in names if name.endswith(MANIFEST)}


def read_stored_manifest(address: str, stage: str) -> dict[str, Any] | None:
    """Read the manifest of a stage in a store; None if the store has no such stage.

    Raises:
        UserError: if the store cannot be read.
    """
    content = ObjectFolder(parse_address(address)).read(f"{stage}{MANIFEST}")
    return None if content is None else dict(json.loads(content[0]))
