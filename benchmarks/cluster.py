"""What a Ray cluster costs and gives: processor time of the process that writes, speed with more
workers, and how soon the work of a lost node goes on. The nodes are this machine's.

    python benchmarks/cluster.py
    python benchmarks/cluster.py --shards 40 --waits 8
    python benchmarks/cluster.py --nodes 4

`driver cpu` is what one process takes to hand out and commit a shard of 64 rows, imports and start
apart. `worker ready` are the seconds from asking for a worker to its first commit, on a cluster
that is connected: of one without a model, and of one that imports torch and sentence-transformers.
`one worker` is the wall time of a Ray worker divided by that of this process, for shards of half a
second without computing, as where a GPU works, from the first commit on. `waiting work` are the
same shards: `speedup` is that of two workers, and of as many as there are nodes, against one.
`node lost` are the seconds from the end of one of the nodes, by SIGKILL, until the workers that are
left have committed all that was in flight on all of them, two shards each at most.
Prints one JSON line each.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

import distill
from distill.store.run import Run
from distill.store.shards import read_shard_number
from distill.store.stage import ShardResult, Stage
from distill.store.tables import DROPPED
from distill.workers.protocol import Opens, OpenWork, WorkerNeeds
from distill.workers.ray_pool import ClusterSettings
from distill.workers.ray_team import RayWorkers

ROWS = 64
STORE = 80 << 20
"""Bytes of a node's object store."""


@contextmanager
def open_work(seconds: float) -> Iterator[OpenWork[int, ShardResult]]:
    """Work of so many seconds a shard, in which nothing is computed."""

    def work(batch: Sequence[int]) -> list[ShardResult]:
        time.sleep(seconds)
        return [make_shard(number) for number in batch]

    yield OpenWork(work)


@contextmanager
def open_work_with_models() -> Iterator[OpenWork[int, ShardResult]]:
    """Work of a worker that has the libraries of a model in memory, but no weights."""
    import sentence_transformers  # noqa: F401 (takes its time)

    with open_work(0.0) as opened:
        yield opened


def make_shard(number: int) -> ShardResult:
    rows = [
        {"item_id": f"{number}-{i}", "reason": "none", "text": "word " * 20} for i in range(ROWS)
    ]
    return ShardResult(rows)


class Nodes:
    """A head without CPUs, and nodes of one CPU each."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        sources = (Path(distill.__file__).parents[1], Path(__file__).parent)
        os.environ["PYTHONPATH"] = os.pathsep.join(map(str, sources))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        self._cluster: Any = Cluster()
        self._cluster.add_node(wait=False, **head)
        node = {"num_cpus": 1, "object_store_memory": STORE}
        self._nodes = [self._cluster.add_node(wait=False, **node) for _ in range(count)]
        self._cluster.wait_for_nodes(timeout=600)  # for each Ray would wait 30 seconds

    def use(self, run: Run, workers: int) -> None:
        settings = ClusterSettings(address=self._cluster.address, workers={"cpu": workers})
        cluster_workers = RayWorkers(settings, run.folder)
        assert cluster_workers.ray is not None  # connects, which is not measured
        run.use_workers(cluster_workers)

    def kill(self, worker: int) -> None:
        """End the node of a worker's process, and it at the same moment, as where a machine loses
        its power."""
        raylet = psutil.Process(worker).ppid()
        (node,) = [of for of in self._nodes if raylet in list_processes(of)]
        self._nodes.remove(node)
        os.kill(worker, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)

    def shutdown(self) -> None:
        self._cluster.shutdown()


def list_processes(node: Any) -> list[int]:
    return [one.process.pid for several in node.all_processes.values() for one in several]


class Commits:
    """When the shards of a stage were committed, by the clock and by this process' CPU."""

    def __init__(self) -> None:
        self.began = 0.0
        self.walls: dict[int, float] = {}
        """By the shard's number, in the order of the commits."""
        self.cpus: list[float] = []
        self.then: Callable[[], None] | None = None
        commit = Stage.commit_shard

        def note(stage: Stage, path: Path, *rest: Any) -> None:
            commit(stage, path, *rest)
            self.walls[read_shard_number(path)] = time.monotonic()
            self.cpus.append(time.process_time())
            if self.then is not None:
                self.then()

        self._commit, self._note = commit, note

    def __enter__(self) -> "Commits":
        Stage.commit_shard = self._note  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *_: object) -> None:
        Stage.commit_shard = self._commit  # type: ignore[method-assign]

    @property
    def wall(self) -> float:
        walls = list(self.walls.values())
        return walls[-1] - walls[0]

    @property
    def seconds_to_first(self) -> float:
        return next(iter(self.walls.values())) - self.began

    @property
    def cpu_a_shard(self) -> float:
        return (self.cpus[-1] - self.cpus[0]) / (len(self.cpus) - 1)


class Loss:
    """Kills a node when four shards are committed."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.at = 0.0
        self.in_flight: set[int] = set()

    def kill_once(self, run: Run, commits: Commits) -> None:
        if len(commits.walls) == 4 and not self.at:
            handles = run.workers.handles  # type: ignore[attr-defined]
            self.in_flight = {number for handle in handles for number in handle.batches}
            self.at = time.monotonic()
            self.nodes.kill(next(of.identity.pid for of in handles if of.batches))


def fill(
    nodes: Nodes | None,
    workers: int,
    shards: int,
    opens: Opens[int, ShardResult],
    loss: Loss | None = None,
    needs: WorkerNeeds = WorkerNeeds(),  # noqa: B008 (frozen)
) -> Commits:
    """Make a stage in a folder that goes; on nodes, or in this process."""
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder)) as run, Commits() as commits:
        if nodes is not None:
            nodes.use(run, workers)
        if loss is not None:
            commits.then = partial(loss.kill_once, run, commits)
        stage = run.open_stage("words", {})
        commits.began = time.monotonic()
        stage.map_on_workers(DROPPED, range(shards), opens, needs)
        stage.finish()
    return commits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=400, help="of 64 rows, without waiting")
    parser.add_argument("--waits", type=int, default=48, help="shards of half a second")
    parser.add_argument("--nodes", type=int, default=2, help="of one CPU each, two at least")
    given = parser.parse_args()
    idle, busy = partial(open_work, 0.0), partial(open_work, 0.5)
    local = fill(None, 0, given.shards, idle)
    most = max(2, given.nodes)
    nodes = Nodes(most)
    on_one = fill(nodes, 1, given.shards, idle)
    milliseconds = {"local": local, "1 worker": on_one}
    figures = {name: round(1000 * of.cpu_a_shard, 2) for name, of in milliseconds.items()}
    show("driver cpu", unit="ms a shard", commits_a_second=round(1 / on_one.cpu_a_shard), **figures)
    model = fill(nodes, 1, 1, open_work_with_models, needs=WorkerNeeds("encoder", "cpu"))
    show(
        "worker ready",
        unit="seconds",
        without_model=round(on_one.seconds_to_first, 1),
        libraries_of_a_model=round(model.seconds_to_first, 1),
    )
    here = fill(None, 0, given.waits, busy).wall
    counts = sorted({1, 2, most})
    waits = {workers: fill(nodes, workers, given.waits, busy).wall for workers in counts}
    ratio = round(waits[1] / here, 3)
    show("one worker", seconds=[round(here, 1), round(waits[1], 1)], ratio=ratio)
    show(
        "waiting work",
        workers=counts,
        seconds=[round(of, 1) for of in waits.values()],
        speedup=[round(waits[1] / of, 2) for of in waits.values()],
    )
    loss = Loss(nodes)
    commits = fill(nodes, most, given.waits, busy, loss)
    until = max(commits.walls[number] for number in loss.in_flight)
    show("node lost", seconds=round(until - loss.at, 1), shards=len(loss.in_flight))
    nodes.shutdown()


def show(name: str, **figures: Any) -> None:
    print(json.dumps({"name": f"cluster: {name}", **figures}), flush=True)


if __name__ == "__main__":
    main()
