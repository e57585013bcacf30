"""Shards on their way from the work that computes them: as the bytes of their files, and of one
file where they were computed elsewhere."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from distill.store.tables import DROPPED, Table, encode_shard
from distill.workers.protocol import BatchResult, Opens, OpenWork

if TYPE_CHECKING:
    from distill.store.stage import ShardResult

T = TypeVar("T")


class EncodedShard(NamedTuple):
    """A shard as the bytes of its files; `dropped` is None where no row was dropped."""

    data: bytes
    rows: int
    counts: Counter[str]
    dropped: bytes | None
    dropped_rows: int
    beside: Any


def encode_result(table: Table, result: "ShardResult") -> EncodedShard:
    """Encode a shard and its dropped rows."""
    dropped = encode_shard(DROPPED, result.dropped) if result.dropped else None
    data = encode_shard(table, result.rows)
    count = len(result.dropped)
    return EncodedShard(data, len(result.rows), result.counts, dropped, count, result.beside)


@contextmanager
def open_encoded(
    opens: "Opens[T, ShardResult]", table: Table
) -> Iterator[OpenWork[T, EncodedShard]]:
    """Open work whose shards are encoded where they are computed."""
    with opens() as opened:

        def encode_batch(batch: Sequence[T]) -> list[EncodedShard]:
            return [encode_result(table, result) for result in opened.work(batch)]

        yield OpenWork(encode_batch, opened.tokens)


NumberedShard = tuple[int, Any, float]
"""An item's number, its shard or what that is made of, and the seconds that it took."""


def iterate_shards(
    results: Iterable[BatchResult[Any]], numbers: Sequence[Sequence[int]]
) -> Iterator[NumberedShard]:
    """Yield the shards of batches, whose items have these numbers, one by one."""
    for number, values, seconds in results:
        for item, value in zip(numbers[number], values, strict=True):
            yield item, value, seconds / len(values)


def settle_shards(
    computed: Iterable[NumberedShard],
    settle: Callable[[int, Any], EncodedShard],
    stopping: Callable[[], bool],
) -> Iterator[NumberedShard]:
    """Make a shard of each value when the one before is committed."""
    for item, value, seconds in computed:
        if stopping():
            return
        began = time.perf_counter()
        shard = settle(item, value)
        yield item, shard, seconds + time.perf_counter() - began


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
