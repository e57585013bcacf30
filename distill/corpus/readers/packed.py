"""Compressed files, read as if they were not: .gz, .bz2, .xz, .zst, .lz4."""

import io
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from distill.errors import UserError
from distill.files.atomic import explain_os_error
from distill.files.read import open_bytes

CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".xz": "xz"}
"""Endings of compressed files, and Arrow's names of their codecs; xz, which it lacks, is Python's
own."""


def strip_packed_ending(path: Path) -> str:
    """Return the file's name without the ending of a compressed file: `docs.jsonl` of
    `docs.jsonl.gz`."""
    return path.stem if path.suffix.lower() in CODECS else path.name


@contextmanager
def open_unpacked(path: Path, text: bool = True) -> Iterator[BinaryIO]:
    """Open the file's bytes, decompressed while they are read.

    Args:
        text: refuse what is no text and not named as compressed.

    Raises:
        UserError: if it may not or cannot be opened, is damaged, or is no text and not named as
            compressed.
    """
    with _open(path, text) as (source, _):
        yield source


def read_beginning(path: Path, most: int) -> tuple[bytes, float]:
    """Read the first bytes of a file, decompressed, and tell which share of the file they are; of a
    compressed one roughly, by how much of it was read.

    Args:
        most: bytes to read at most.

    Raises:
        UserError: if it may not or cannot be opened, or is damaged.
    """
    with _open(path, text=False) as (source, tell):
        beginning = source.read(most)
        is_whole = not source.read(1)
        return beginning, 1.0 if is_whole else tell() / path.stat().st_size


@contextmanager
def _open(path: Path, text: bool) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """Open the file's bytes, and what tells how many bytes of the file itself were read."""
    codec = CODECS.get(path.suffix.lower())
    if codec is None:
        with open_bytes(path, text) as source:
            yield source, source.tell
        return
    try:
        if codec == "xz":
            with path.open("rb") as packed, lzma.open(packed) as decompressed:
                yield cast(BinaryIO, decompressed), packed.tell
            return
        with pa.OSFile(str(path)) as file, pa.CompressedInputStream(file, codec) as unpacked:
            # pyarrow's file has what a raw stream needs, and no more.
            yield io.BufferedReader(cast(io.RawIOBase, unpacked)), file.tell
    except (pa.ArrowException, lzma.LZMAError, OSError, EOFError) as fault:
        # What the system refuses has a number; damaged data has none.
        if isinstance(fault, OSError) and fault.errno:
            raise explain_os_error(fault, path) from fault
        raise UserError(
            str(path), f"cannot be decompressed as {codec}", "fetch or compress it anew"
        ) from fault
