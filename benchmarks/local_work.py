"""What the way of all work through `Stage.map_on_workers` costs where it is done in this process:
its processor time, against a bare loop that computes, encodes and commits the same shards.

    python benchmarks/local_work.py
    python benchmarks/local_work.py --shards 50 --turns 3

Each turn makes a stage in either way, one after the other, and the way that begins changes from
turn to turn. The ratio is the median of the turns' own ratios: what else the machine does changes
the time that a commit takes by more than what is measured. Shards are of 64 rows, in which nothing
is computed, so that the executor's part is as large as it can be. Prints one JSON line.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distill.store.run import Run
from distill.store.shard_bytes import encode_result
from distill.store.shards import make_shard_name
from distill.store.stage import ShardResult, Stage
from distill.store.tables import DROPPED
from distill.workers.protocol import OpenWork, WorkerNeeds

ROWS = 64


def make_shard(number: int) -> ShardResult:
    rows = [
        {"item_id": f"{number}-{i}", "reason": "none", "text": "word " * 20} for i in range(ROWS)
    ]
    return ShardResult(rows)


@contextmanager
def open_work() -> Iterator[OpenWork[int, ShardResult]]:
    def work(batch: Sequence[int]) -> list[ShardResult]:
        return [make_shard(number) for number in batch]

    yield OpenWork(work)


def map_on_workers(stage: Stage, shards: int) -> None:
    stage.map_on_workers(DROPPED, range(shards), open_work, WorkerNeeds())


def loop_alone(stage: Stage, shards: int) -> None:
    for number in range(shards):
        began = time.perf_counter()
        shard = encode_result(DROPPED, make_shard(number))
        path = stage.folder / f"{make_shard_name(number, shards)}.parquet"
        stage.commit_shard(path, shard, time.perf_counter() - began)


def measure(make: Callable[[Stage, int], None], shards: int) -> float:
    """Measure the milliseconds of processor time that a shard takes."""
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder)) as run:
        stage = run.open_stage("words", {})
        began = time.process_time()
        make(stage, shards)
        return 1000 * (time.process_time() - began) / shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=50, help="of 64 rows, a stage")
    parser.add_argument("--turns", type=int, default=51)
    given = parser.parse_args()
    ways = (map_on_workers, loop_alone)
    times: dict[Callable[[Stage, int], None], list[float]] = {way: [] for way in ways}
    for way in ways:
        measure(way, given.shards)  # imports and first uses
    for turn in range(given.turns):
        for way in ways if turn % 2 else reversed(ways):
            times[way].append(measure(way, given.shards))
    ours, peer = (times[way] for way in ways)
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    figures = {
        "name": "local work: through the executor, and in a bare loop",
        "unit": "ms of CPU a shard",
        "ours": round(statistics.median(ours), 3),
        "peer": round(statistics.median(peer), 3),
        "ratio": round(statistics.median(ratios), 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
