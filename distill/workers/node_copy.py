"""A node's own copy of a run, for clusters without a shared folder (`execution.inputs: copy`): what
a worker reads is fetched from the run's store when it is first asked for, to the same path.

Only what the process that writes the run has put there for its workers is read: stages that are
complete, vectors and indexes, and what a stage under way has for them beside its shards.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from distill.errors import UserError
from distill.files.atomic import commit_bytes
from distill.object_store.address import parse_address
from distill.object_store.copy_in import fetch_files
from distill.object_store.download import is_copied
from distill.object_store.files import list_files
from distill.object_store.no_mirror import PARTS
from distill.object_store.objects import ObjectFolder, StoredObject
from distill.object_store.record import COPY_MARK, FOLDER, CopyRecord

_USED = "used"
"""The folder of the marks of what each job has fetched."""


class CopySource(NamedTuple):
    """The store that a node copies a run from.

    Args:
        address: of the store.
        job: names the process that writes the run: what an earlier one's workers fetched makes room
            where there is not enough.
        most_bytes: that a copy may take; None: as much as the disk has.
    """

    address: str
    job: str
    most_bytes: int | None


class NodeCopy:
    """The copy of one run on this node, which all of its workers share.

    Args:
        folder: the run's, as the process that writes it names it.
        node: for errors.

    Raises:
        UserError: if this node has another folder at that path, or the store cannot be read.
    """

    def __init__(self, folder: Path, source: CopySource, node: str) -> None:
        self.folder = folder
        self._source = source
        self._node = node
        self._here: set[str] = set()
        self._objects = ObjectFolder(parse_address(source.address))
        mark = folder / FOLDER / COPY_MARK
        others = [one for one in folder.iterdir() if one.name != FOLDER] if folder.exists() else []
        if others and not mark.exists():
            raise UserError(
                f"node {node}",
                f"has a folder {folder} that is no copy of the run",
                "move it away on that node, or mount the run's own folder there",
            )
        (folder / FOLDER / _USED).mkdir(parents=True, exist_ok=True)
        mark.touch()

    def fetch(self, path: Path) -> None:
        """Fetch a file or folder of the run, unless this worker has done so before. Files that are
        as they are in the store are not copied again; those of another stage of its name go.

        Raises:
            UserError: if the store cannot be read, or the copy would take more than it may.
        """
        round_, *below = path.relative_to(self.folder).parts
        if round_.startswith("round-") and below[:1] == ["vectors"]:  # those of the run
            self._make_vectors_link(self.folder / round_)
            path = self.folder.joinpath(*below)
        name = path.relative_to(self.folder).as_posix()
        if name in self._here or any(name.startswith(f"{one}/") for one in self._here):
            return
        with FileLock(self.folder / FOLDER / f"{COPY_MARK}.lock"):
            self._fetch(path, name)
        self._here.add(name)

    def _make_vectors_link(self, inner: Path) -> None:
        """Let a run inside the run have its vectors, as it does where it is made."""
        inner.mkdir(exist_ok=True)
        with suppress(FileExistsError):
            (inner / "vectors").symlink_to(Path("..") / "vectors")

    def _fetch(self, path: Path, name: str) -> None:
        found = self._objects.find(name)
        listed = [found] if found is not None else self._objects.list(name)
        there = [one for one in listed if f"{PARTS}/" not in one.name]
        record = CopyRecord(self.folder)  # other workers of the node write it too
        missing = [one for one in there if not self._is_here(record, one)]
        _note_use(self.folder, name, self._source.job)  # first: what is fetched makes no room
        if missing:
            self._make_room(sum(one.size for one in missing))
        label = f"copying {name} to node {self._node}"
        fetch_files(self._objects, record, self.folder, [one.name for one in missing], label)
        wanted = {self.folder / one.name for one in there}
        for other in [*list_files(path)] if path.is_dir() else []:
            if other not in wanted and other != path / ".stage" / "manifest.json":
                other.unlink()

    def _is_here(self, record: CopyRecord, one: StoredObject) -> bool:
        """Return whether the node has an object as it is. An SQLite file changes when it is opened,
        which workers do only to read it: it is known by its etag."""
        if not one.name.endswith(".sqlite"):
            return is_copied(self.folder, record, one)
        copy = record.get(one.name)
        return copy is not None and copy.etag == one.etag and (self.folder / one.name).is_file()

    def _make_room(self, size: int) -> None:
        """Remove what earlier jobs have fetched until so many bytes more are allowed.

        Raises:
            UserError: if that is not enough.
        """
        most = self._source.most_bytes
        if most is None:
            return
        marks = sorted((self.folder / FOLDER / _USED).glob("[!.]*"), key=os.path.getmtime)
        used = {mark: mark.read_text(encoding="utf-8").partition("\n") for mark in marks}
        ours = [name for name, _, job in used.values() if job == self._source.job]
        for mark, (name, _, job) in used.items():
            if _measure(self.folder) + size <= most:
                return
            if name and job != self._source.job and not any(_overlaps(name, one) for one in ours):
                _remove(self.folder / name)
                mark.unlink()
        if _measure(self.folder) + size > most:
            raise UserError(
                f"node {self._node}",
                f"would need {(_measure(self.folder) + size) / 2**30:.1f} GiB for its copy of the "
                f"run, and may take {most / 2**30:.1f}",
                "raise execution.copy_gib, or give the nodes a shared folder",
            )


_copy: NodeCopy | None = None
"""The copy that this process reads; None where the run's own folder is here."""


def use_copy(copy: NodeCopy | None) -> None:
    """Have this process read a copy from now on."""
    global _copy
    _copy = copy


def fetch_if_copied(path: Path) -> None:
    """Fetch a file or folder of a run, where this process reads a copy of it; else do nothing.

    Raises:
        UserError: as `NodeCopy.fetch`.
    """
    if _copy is None:
        return
    absolute = path.absolute()
    if absolute.is_relative_to(_copy.folder):
        _copy.fetch(absolute)


def _note_use(folder: Path, name: str, job: str) -> None:
    mark = folder / FOLDER / _USED / name.replace("/", "-")
    commit_bytes(mark, f"{name}\n{job}".encode())


def _overlaps(one: str, other: str) -> bool:
    """Return whether one name is the other, or lies below it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _measure(folder: Path) -> int:
    """Measure a folder while other workers write it."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.lstat().st_size if path.is_file() else 0
    return size
