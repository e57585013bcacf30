"""Write files atomically, and explain in words why a disk refuses them."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distill.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS}
"""How file systems answer that do not flush folders."""
_REFUSED: dict[int, tuple[str, str]] = {
    errno.EROFS: (
        "cannot be written: the disk is read-only",
        "name a folder on a disk that can be written",
    ),
    errno.EACCES: (
        "may not be read or written by this user",
        "change its permissions (chmod, chown), or name another folder",
    ),
    errno.EPERM: (
        "may not be changed by this user",
        "change its permissions (chmod, chown), or name another folder",
    ),
    errno.ENAMETOOLONG: (
        "has a name longer than the disk allows",
        "take a shorter name (255 bytes a part on most disks)",
    ),
    errno.EISDIR: ("is a folder where a file is expected", "name a file, or move the folder away"),
    errno.ENOTDIR: (
        "is, or lies in, a file where a folder is expected",
        "name a folder, or move the file away",
    ),
    errno.EEXIST: ("is in the way", "move it away, or name another folder"),
    errno.ENOENT: ("does not exist", "check the path, and that its disk is mounted"),
    errno.ELOOP: ("is a link that leads back to itself", "name the file itself"),
    errno.EIO: ("cannot be read or written: the disk is faulty", "check the disk"),
    errno.ESTALE: ("is on a network disk that has gone", "mount the disk again"),
}
_FULL_MESSAGES = (
    "no space left on device",
    "os error 28",
    "errno 28",
    "disk quota exceeded",
    "database or disk is full",
    "file too large",
    "os error 27",
    "file write failed",  # torch's archive
    "unexpected pos",  # the same, where the archive is closed
    "iostream error",  # the same, where its last bytes do not fit
)
"""How libraries that raise no OSError (safetensors, torch, SQLite) say that a disk is full."""


def read_json(path: Path) -> Any:
    """Read a JSON file that distill or one of its libraries wrote.

    Raises:
        UserError: if it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as fault:
        raise UserError(
            str(path),
            f"is damaged: it is no JSON ({fault})",
            "restore it, or move the folder it lies in away: the same command makes that again",
        ) from fault


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    commit_bytes(path, (text + "\n").encode())


def write_json_list(path: Path, items: Iterable[str]) -> None:
    """Write texts as `write_json` writes a list of them, without all of them in memory."""
    with open_atomic_file(path) as beside, beside.open("w", encoding="utf-8") as file:
        before = "[\n  "
        for item in items:
            file.write(before + json.dumps(item, ensure_ascii=False))
            before = ",\n  "
        file.write("[]\n" if before.startswith("[") else "\n]\n")


def commit_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: to a file beside it, fsync, rename, fsync of the folder.

    Raises:
        UserError: where the disk is full or refuses the file; nothing is left beside it.
    """
    try:
        with _write_file_beside(path) as beside:
            beside.write_bytes(data)
    except OSError as fault:
        raise explain_os_error(fault, path, len(data)) from fault


@contextmanager
def open_atomic_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, for a library that writes by itself: the file becomes `path` when
    the block ends without an error, flushed to disk and renamed; else nothing is left of it. What a
    killed process leaves in a run is removed when the run is next opened.

    Raises:
        UserError: where the disk is full.
    """
    with name_full_disk(path), _write_file_beside(path) as beside:
        yield beside


@contextmanager
def _write_file_beside(path: Path) -> Iterator[Path]:
    writer = f"{os.getpid()}-{threading.get_native_id()}"
    beside = path.with_name(f".{path.name}.{writer}.part")
    try:
        yield beside
        _flush(beside)
        os.replace(beside, path)
        _flush_entries(path.parent)
    except BaseException:
        # The name may itself be what the disk refuses.
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


@contextmanager
def open_atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to write to, which becomes `path` when the block ends without an error:
    its files flushed to disk, then renamed; else nothing is left of it. What a killed process left
    is removed first, so only one process at a time may write a path. At `path` there may be
    an empty folder.

    Its name ends in `.new`, not in `.part`: such files are removed when a run is opened, which may
    be while somebody writes a folder in it.

    Raises:
        UserError: where the disk is full.
    """
    beside = path.with_name(f".{path.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    with name_full_disk(path):
        try:
            beside.mkdir(parents=True)
            yield beside
            flush_folder(beside)
            os.replace(beside, path)
            _flush_entries(path.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def name_full_disk(path: Path) -> Iterator[None]:
    """Name the file or folder that is being written in the error of a full disk, which libraries
    such as safetensors and torch raise without it.

    Raises:
        UserError: where the disk is full.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as fault:
        full = explain_full_disk(fault, path)
        if full is None:
            raise
        raise full from fault


def flush_folder(folder: Path) -> None:
    """Have every file and folder below a folder on the disk, files with the mode of an ordinary new
    one."""
    set_usual_modes(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            _flush(path)
        elif path.is_dir():
            _flush_entries(path)
    _flush_entries(folder)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_entries(folder: Path) -> None:
    """Have a folder's entries on the disk, so that a rename in it outlives a loss of power. A file
    system that knows no such thing is left to keep them as it does."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # a folder that may be written and not read
        return
    try:
        os.fsync(descriptor)
    except OSError as fault:
        if fault.errno not in _NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)


def set_usual_modes(folder: Path) -> None:
    """Give each file of a folder the mode of an ordinary new file. safetensors makes files that
    only their owner can read, so that a server that runs as another user could not load a model."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~mask)


def reserve_room(path: Path, size: int) -> None:
    """Reserve disk space for all of a file's bytes, before the file is mapped into memory: a write
    to the map of a full disk ends the process with SIGBUS.

    Raises:
        UserError: if the disk has not so much room.
    """
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as fault:
            if fault.errno != errno.EOPNOTSUPP:
                raise explain_os_error(fault, path, size) from fault


def explain_os_error(
    fault: OSError, path: Path | None = None, needed: int | None = None
) -> UserError:
    """Turn the system's refusal of a file into an error with place and remedy.

    Args:
        path: the file that was being written; by default the one that `fault` names.
        needed: how many bytes were to be written.
    """
    named = path or (Path(os.fsdecode(fault.filename)) if _is_path(fault.filename) else None)
    where = "the disk" if named is None else str(named)
    if fault.errno in _FULL:
        return make_full_disk_error(named, needed)
    what, remedy = _REFUSED.get(
        fault.errno or 0, (fault.strerror or str(fault) or type(fault).__name__, "check the path")
    )
    return UserError(where, what, remedy)


def explain_full_disk(fault: BaseException, path: Path | None = None) -> UserError | None:
    """Return the error to show if a library's exception, or one that led to it, says that a disk is
    full; else None.

    Args:
        path: what was being written, where the fault does not name it.
    """
    one: BaseException | None = fault
    while one is not None:
        message = str(one).lower()
        if isinstance(one, OSError) and one.errno in _FULL:
            return explain_os_error(one, Path(one.filename) if _is_path(one.filename) else path)
        if not isinstance(one, UserError) and any(words in message for words in _FULL_MESSAGES):
            return make_full_disk_error(path)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return None


def make_full_disk_error(path: Path | None, needed: int | None = None) -> UserError:
    """Make the error for a full disk."""
    need = "" if needed is None else f" {format_bytes(needed)} are needed,"
    return UserError(
        "the disk" if path is None else str(path),
        f"cannot be written: the disk is full,{need}{_describe_free(path)}",
        "free some room (or raise the quota or limit of file sizes), then the same command "
        "continues; what is done is kept",
    )


def format_bytes(count: float) -> str:
    """Format a number of bytes, such as `1.5 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _describe_free(path: Path | None) -> str:
    """Say how much room the disk of a path has, as far as the path is known."""
    if path is None:
        return " and the library that wrote to it does not say where"
    place = path.absolute()
    for folder in (place, *place.parents):
        if folder.exists():
            return f" {format_bytes(shutil.disk_usage(folder).free)} are free"
    return " 0 bytes are free"


def _is_path(name: Any) -> bool:
    return isinstance(name, str | bytes) and bool(name)
