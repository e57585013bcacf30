"""Read the rows that are left in a damaged SQLite file, page by page.

The format is SQLite's own documentation's (sqlite.org/fileformat2.html, sections 1.3 to 2.1, 4.1).
Nothing here knows a row that was flipped from one that was not: the caller does.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = tuple[Any, ...]

_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 0x0D, 0x0A, 0x02
_DEFAULT_PAGE = 4096
_FIRST_HEADER = 100
_WAL_HEADER, _FRAME_HEADER = 32, 24
_LONGEST = 1 << 30
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def salvage_records(path: Path) -> Iterator[Record]:
    """Yield the records of every page of a file, and of the write-ahead log beside it, in no order
    and some of them twice: rows of tables without their row number, and entries of indexes."""
    data = path.read_bytes()
    size = _read_page_size(data)
    pages = {
        number: data[start : start + size] for number, start in _iterate_starts(len(data), size)
    }
    log = path.with_name(f"{path.name}-wal")
    newer = list(_read_log(log.read_bytes(), size)) if log.exists() else []
    for number, page in [*pages.items(), *newer]:
        yield from _read_records(page, _FIRST_HEADER if number == 1 else 0, pages | dict(newer))


def _read_page_size(data: bytes) -> int:
    size = int.from_bytes(data[16:18], "big")
    size = 65_536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 else _DEFAULT_PAGE


def _iterate_starts(length: int, size: int) -> Iterator[tuple[int, int]]:
    return enumerate(range(0, length, size), start=1)


def _read_log(data: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the pages in a write-ahead log, oldest first."""
    for start in range(_WAL_HEADER, len(data), _FRAME_HEADER + size):
        number = int.from_bytes(data[start : start + 4], "big")
        yield number, data[start + _FRAME_HEADER : start + _FRAME_HEADER + size]


def _read_records(page: bytes, header: int, pages: dict[int, bytes]) -> Iterator[Record]:
    kind = page[header] if header < len(page) else 0
    if kind not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR):
        return
    pointers = header + (12 if kind == _INDEX_INTERIOR else 8)
    cells = int.from_bytes(page[header + 3 : header + 5], "big")
    for place in range(pointers, min(pointers + 2 * cells, len(page) - 1), 2):
        start = int.from_bytes(page[place : place + 2], "big")
        try:
            record = _read_record(_read_payload(page, start, kind, pages))
        except (IndexError, ValueError, KeyError, struct.error):
            continue  # a damaged cell: the next one may be whole
        yield record


def _read_payload(page: bytes, start: int, kind: int, pages: dict[int, bytes]) -> bytes:
    """Read a cell's bytes, those on overflow pages included."""
    if kind == _INDEX_INTERIOR:
        start += 4  # the page below
    length, start = _read_varint(page, start)
    if kind == _TABLE_LEAF:
        _, start = _read_varint(page, start)  # the row's number
    here = _count_bytes_on_page(length, len(page), kind)
    parts = [page[start : start + here]]
    left = length - here
    following = int.from_bytes(page[start + here : start + here + 4], "big") if left else 0
    while left > 0:
        more = pages[following]
        parts.append(more[4 : 4 + min(left, len(page) - 4)])
        left -= len(page) - 4
        following = int.from_bytes(more[:4], "big")
    whole = b"".join(parts)
    if len(whole) != length or length > _LONGEST:
        raise ValueError("a cell that is cut off")
    return whole


def _count_bytes_on_page(length: int, usable: int, kind: int) -> int:
    most = usable - 35 if kind == _TABLE_LEAF else (usable - 12) * 64 // 255 - 23
    if length <= most:
        return length
    least = (usable - 12) * 32 // 255 - 23
    surplus = least + (length - least) % (usable - 4)
    return surplus if surplus <= most else least


def _read_record(payload: bytes) -> Record:
    end, place = _read_varint(payload, 0)
    kinds, values = [], []
    while place < end:
        kind, place = _read_varint(payload, place)
        kinds.append(kind)
    for kind in kinds:
        value, place = _read_value(payload, place, kind)
        values.append(value)
    if place != len(payload):
        raise ValueError("a record of another length")
    return tuple(values)


def _read_value(payload: bytes, place: int, kind: int) -> tuple[Any, int]:
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], place
    if kind in _INTEGER_BYTES:
        end = place + _INTEGER_BYTES[kind]
        return int.from_bytes(payload[place:end], "big", signed=True), end
    if kind == 7:
        return struct.unpack(">d", payload[place : place + 8])[0], place + 8
    if kind < 12:
        raise ValueError("a kind of value that there is not")
    end = place + (kind - 12) // 2
    piece = payload[place:end]
    return (piece.decode() if kind % 2 else piece), end


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Read SQLite's integers of one to nine bytes, seven bits each, the ninth with eight."""
    value = 0
    for count in range(8):
        byte = data[place + count]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + count + 1
    return value << 8 | data[place + 8], place + 9
