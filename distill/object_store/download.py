"""A corpus in an object store: its files, copied once into the cache of this machine."""

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path

from filelock import FileLock

from distill.errors import UserError
from distill.object_store.address import StoreAddress, parse_address
from distill.object_store.copy_in import fetch_files
from distill.object_store.objects import ObjectFolder, StoredObject
from distill.object_store.record import FOLDER, CopyRecord


def list_input(address: str) -> list[StoredObject]:
    """List the objects that an address stands for: one, all below a prefix, or those of a name with
    wildcards in the last part. Their names begin with that part.

    Raises:
        UserError: if the store cannot be read, or there is none.
    """
    return _list(*_split(address))


def fetch_input(address: str, cache: Path) -> Path:
    """Copy the objects that an address stands for into a folder of the cache, as files. Those that
    are there with the same etag are not copied again, and those that are gone are deleted.

    Args:
        cache: the folder of such copies.

    Returns:
        The file or folder, with the name that it has in the store; wildcards stay.

    Raises:
        UserError: if the store cannot be read, there is no such object, or the disk is full.
    """
    objects, last = _split(address)
    folder = cache / hashlib.sha256(address.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        there = _list(objects, last)
        record = CopyRecord(folder)
        changed = [one.name for one in there if not is_copied(folder, record, one)]
        fetch_files(objects, record, folder, changed, f"reading {address}")
        _delete_others(folder, {one.name for one in there})
    return folder / last


def _split(address: str) -> tuple[ObjectFolder, str]:
    """Return the folder in which the last part of an address lies, and that part."""
    scheme, bucket, prefix = parse_address(address)
    parent, _, last = prefix.rpartition("/")
    return ObjectFolder(StoreAddress(scheme, bucket, parent)), last


def _list(objects: ObjectFolder, last: str) -> list[StoredObject]:
    if has_magic(last):
        matching = (one for one in objects.list() if fnmatchcase(one.name.partition("/")[0], last))
        objects_there = [*matching]
    else:
        one = objects.find(last)
        objects_there = [one] if one is not None else [*objects.list(last)]
    if not objects_there:
        raise UserError(
            f"{objects.address}/{last}",
            "holds no object",
            "correct corpus.path; names tell capitals from small letters",
        )
    return objects_there


def is_copied(folder: Path, record: CopyRecord, one: StoredObject) -> bool:
    """Return whether a file of a folder is still the copy of an object as it is."""
    path = folder / one.name
    return path.is_file() and record.is_current(one.name, path.stat(), one.etag)


def _delete_others(folder: Path, names: Iterable[str]) -> None:
    wanted = {folder / name for name in names}
    for place in folder.iterdir():
        for path in [place, *place.rglob("*")] if place.name not in (FOLDER, ".lock") else []:
            if path.is_file() and path not in wanted:
                path.unlink()
