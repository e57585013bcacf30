"""A large file that is written in place for hours, such as vectors: it is kept in the store part by
part while it grows, so that little is lost with the machine. When the whole file is there, its
parts go."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from distill.object_store.files import GROWING
from distill.object_store.no_mirror import PARTS, Mirror


def copy_part(mirror: Mirror, path: Path, start: int, end: int) -> None:
    """Copy the bytes from `start` to `end`, which do not change any more, when there is time."""

    def read() -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    mirror.copy_part(_find_parts(path) / f"{start:020d}", read)


def mark_growing(path: Path) -> None:
    """Mark a file that grows: only parts of it are copied."""
    _make_mark_path(path).touch()


def mark_whole(path: Path) -> None:
    """Note that a file is whole: it is copied itself."""
    _make_mark_path(path).unlink(missing_ok=True)


def has_parts(path: Path) -> bool:
    """Return whether the folder has parts of a file, which came from the store."""
    return _find_parts(path).is_dir()


def restore_parts(path: Path, file: Path) -> Iterator[tuple[int, int]]:
    """Write the parts of a file that came from the store to their places in `file`. Yields the
    range of bytes of each; those that reach beyond the end are left out."""
    size = file.stat().st_size
    with file.open("r+b") as whole:
        for part in sorted(_find_parts(path).glob("[0-9]*")):
            start, content = int(part.name), part.read_bytes()
            if start + len(content) <= size:
                whole.seek(start)
                whole.write(content)
                yield start, start + len(content)


def remove_parts(path: Path) -> None:
    """Remove the parts of a file from the folder."""
    shutil.rmtree(_find_parts(path), ignore_errors=True)


def _make_mark_path(path: Path) -> Path:
    return path.with_name(path.name + GROWING)


def _find_parts(path: Path) -> Path:
    return path.with_name(path.name + PARTS)
