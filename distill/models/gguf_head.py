"""Read one text of the head of a GGUF file. Its own library parses the whole vocabulary for it,
which takes seconds.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""The size of a number, by the number of its type."""
_TEXT, _ARRAY = 8, 9
_LONGEST_TEXT = 65_535


def read_gguf_text(path: Path, key: str) -> str | None:
    """Read the text of a key. None where the file has no such key, or cannot be read."""
    try:
        with path.open("rb") as file:
            return _find_text(file, key)
    except (struct.error, ValueError, OverflowError, OSError):
        return None


def _find_text(file: BinaryIO, key: str) -> str | None:
    if file.read(4) != _MAGIC or _read_number(file, 4) not in _VERSIONS:
        return None
    _read_number(file, 8)  # how many tensors there are
    for _ in range(_read_number(file, 8)):
        name, kind = _read_text(file), _read_number(file, 4)
        if name == key:
            return _read_text(file) if kind == _TEXT else None
        if kind == _ARRAY:
            kind, count = _read_number(file, 4), _read_number(file, 8)
            _skip(file, kind, count)
        else:
            _skip(file, kind, 1)
    return None


def _skip(file: BinaryIO, kind: int, count: int) -> None:
    """Skip so many values of a type."""
    if kind in _BYTES:
        file.seek(_BYTES[kind] * count, 1)
    elif kind == _TEXT:
        for _ in range(count):
            file.seek(_read_number(file, 8), 1)
    else:
        raise ValueError(f"values of type {kind}")


def _read_text(file: BinaryIO) -> str:
    length = _read_number(file, 8)
    if length > _LONGEST_TEXT:
        raise ValueError(f"a text of {length} bytes")
    return file.read(length).decode()


def _read_number(file: BinaryIO, size: int) -> int:
    """Read a number without a sign, in little-endian order as nearly all files are."""
    (number,) = struct.unpack("<Q" if size == 8 else "<I", file.read(size))
    return int(number)
