"""Compressed files, read as if they were not: .gz, .bz2, .xz, .zst, .lz4."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from distill.errors import UserError
from distill.files.atomic import explain_os_error
from distill.files.read import open_bytes

CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
"""Endings of compressed files, and Arrow's names of their codecs."""


def unpacked_name(path: Path) -> str:
    """The file's name without the ending of a compressed file: `docs.jsonl` of `docs.jsonl.gz`."""
    return path.stem if path.suffix.lower() in CODECS else path.name


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed while they are read.

    Raises:
        UserError: if it cannot be opened, is damaged, or is no text and not named as compressed.
    """
    codec = CODECS.get(path.suffix.lower())
    if codec is None:
        with open_bytes(path) as source:
            yield source
        return
    try:
        with pa.OSFile(str(path)) as file, pa.CompressedInputStream(file, codec) as unpacked:
            # pyarrow's file has what a raw stream needs, and no more.
            yield io.BufferedReader(cast(io.RawIOBase, unpacked))
    except FileNotFoundError as fault:
        raise explain_os_error(fault, path) from fault
    except (pa.ArrowException, OSError, EOFError) as fault:
        raise UserError(
            str(path), f"cannot be decompressed as {codec}", "fetch or compress it anew"
        ) from fault
