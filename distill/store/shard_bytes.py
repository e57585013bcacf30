"""A shard that was computed elsewhere, as the bytes of one file."""

import json
from collections import Counter
from typing import Any, NamedTuple


class EncodedShard(NamedTuple):
    """A shard as the bytes of its files; `dropped` is None where no row was dropped."""

    data: bytes
    rows: int
    counts: Counter[str]
    dropped: bytes | None
    dropped_rows: int
    beside: Any


def pack_shard(shard: EncodedShard) -> bytes:
    """Pack a shard; what it has beside its rows are numbers by keys of bytes, or nothing."""
    beside = shard.beside
    head = {
        "rows": shard.rows,
        "counts": shard.counts,
        "dropped_rows": shard.dropped_rows,
        "sizes": [len(shard.data), None if shard.dropped is None else len(shard.dropped)],
        "beside": None if beside is None else [[k.hex(), *v] for k, v in beside.items()],
    }
    return json.dumps(head).encode() + b"\n" + shard.data + (shard.dropped or b"")


def unpack_shard(content: bytes) -> EncodedShard:
    """Unpack what `pack_shard` has packed."""
    head, _, files = content.partition(b"\n")
    values = json.loads(head)
    size, dropped_size = values["sizes"]
    beside = values["beside"]
    return EncodedShard(
        files[:size],
        values["rows"],
        Counter(values["counts"]),
        None if dropped_size is None else files[size:],
        values["dropped_rows"],
        None if beside is None else {bytes.fromhex(key): tuple(v) for key, *v in beside},
    )
