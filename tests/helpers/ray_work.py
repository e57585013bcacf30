"""A small Ray cluster of real processes on this machine, and work for its workers."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

import distill
from distill.errors import EngineFailure, UserError
from distill.store.stage import ShardResult
from distill.workers.protocol import OpenWork
from distill.workers.ray_pool import ClusterSettings
from distill.workers.ray_team import RayWorkers
from helpers.forked_ray_workers import ForkedWorkers


def can_mount() -> bool:
    """Return whether this process may mount folders for others alone."""
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return tried.returncode == 0


PATIENCE = 600.0
"""Seconds after which a wait in a test has failed: also on a machine that is busy with others."""
STORE = 80 << 20
"""Bytes of a node's object store: containers have little shared memory, and Ray takes no less."""


class SmallCluster:
    """A head without CPUs, and nodes of one CPU each, which are raylets of their own."""

    def __init__(self, nodes: int = 2) -> None:
        from ray.cluster_utils import Cluster

        # Workers find the code that is tested, and these helpers.
        sources = (Path(distill.__file__).parents[1], Path(__file__).parents[1])
        os.environ["PYTHONPATH"] = os.pathsep.join(map(str, sources))
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._forked = ForkedWorkers()
        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        self._cluster: Any = Cluster()
        self._wait_for_node(self._cluster.add_node(wait=False, **head))
        self.nodes: list[Any] = []
        for _ in range(nodes):
            self.add_node()

    def add_node(self, gpus: int = 0, cpus: int = 1, **environment: str) -> None:
        """Add a node, which may pretend to have GPUs and more CPUs, and whose processes have these
        environment variables too."""
        with self._forked.start_nodes():
            node = self._cluster.add_node(
                num_cpus=cpus,
                num_gpus=gpus,
                object_store_memory=STORE,
                env_vars=environment or None,
                wait=False,
            )
        self.nodes.append(node)
        self._wait_for_node(node)

    def _wait_for_node(self, node: Any) -> None:
        """Wait for a node, for longer than the 30 seconds that Ray would; and until a killed one
        does not count any more, which takes some seconds."""
        self._cluster._wait_for_node(node, timeout=PATIENCE)
        self._cluster.wait_for_nodes(timeout=PATIENCE)

    @contextmanager
    def add_node_without(self, folder: Path, instead: Path, **environment: str) -> Iterator[None]:
        """Have a node that does not see a folder, as on another machine: another one is mounted
        in its place for the node's processes alone."""
        start = f"mount --bind {shlex.quote(str(instead))} {shlex.quote(str(folder))} && exec "
        start += f"{shlex.quote(sys.executable)} -m ray.scripts.scripts start --block --num-cpus=1 "
        start += f"--address={self.address} --object-store-memory={STORE}"
        node = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", start],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()

    def kill_node(self, of: int | None = None) -> None:
        """End a node by SIGKILL: the one of a worker's process, which ends with it at the same
        moment, as where a machine loses its power; by default the last one."""
        node = self.nodes[-1] if of is None else self._find_node(of)
        self.nodes.remove(node)
        if of is not None:
            os.kill(of, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)

    def _find_node(self, worker: int) -> Any:
        parent = self._forked.find_node(worker) or psutil.Process(worker).ppid()
        started = {
            process.process.pid: node
            for node in self.nodes
            for processes in node.all_processes.values()
            for process in processes
        }
        return started[parent]

    def make_workers(self, folder: Path, **settings: Any) -> RayWorkers:
        return RayWorkers(ClusterSettings(address=self.address, **settings), folder)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def shutdown(self) -> None:
        self._cluster.shutdown()
        self._forked.stop()


@contextmanager
def open_lengths(folder: Path, pause: float = 0.0) -> Iterator[OpenWork[str, ShardResult]]:
    """Work that drops a row for each item, and does what the item's name asks for."""
    (folder / f"worker-{os.getpid()}").touch()

    def work(batch: Sequence[str]) -> list[ShardResult]:
        time.sleep(pause)
        return [_do(item, folder) for item in batch]

    yield OpenWork(work)


def _do(item: str, folder: Path) -> ShardResult:
    before = folder / f"begun-{item}"
    times = len(before.read_text()) if before.exists() else 0
    before.write_text("x" * (times + 1))
    if "waits" in item:
        wait_for(folder / "go-on")
    if item.startswith("poison") or (item.startswith("dies once") and not times):
        os._exit(1)
    if item.startswith("killed once") and not times:
        os.kill(os.getpid(), signal.SIGKILL)
    if item.startswith("always fails") or (item.startswith("fails once") and not times):
        raise ValueError("this item cannot be done")
    if item.startswith("fails here"):
        _fail_on_the_first(item, folder)
    if item.startswith("engine") and not times:
        raise EngineFailure("the engine", "has lost its GPU", "run again")
    if item.startswith("frees"):
        (folder / "go-on").touch()
    if item.startswith("bad"):
        raise UserError(f"row {item}", "is bad input", "correct it")
    row = {"item_id": item, "reason": str(len(item)), "text": item.upper()}
    return ShardResult([row], dropped=[row])


def _fail_on_the_first(item: str, folder: Path) -> None:
    """Fail in the process that meets an item first, once there is another one."""
    first = folder / f"first-{item}"
    if not first.exists():
        first.write_text(str(os.getpid()))
    if first.read_text() == str(os.getpid()):
        wait_until(lambda: len(list(folder.glob("worker-*"))) > 1)
        raise ValueError("this item cannot be done here")


@contextmanager
def open_one_and_then_wait(folder: Path) -> Iterator[OpenWork[str, ShardResult]]:
    """Work that the first worker opens at once, and any other one when `go-on` is there, as where
    it loads a large model. The first one stops after two items until then."""
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        (folder / f"opening-{os.getpid()}").touch()
        wait_for(folder / "go-on")

    def work(batch: Sequence[str]) -> list[ShardResult]:
        if len(list(folder.glob("begun-*"))) >= 2:
            wait_for(folder / "go-on")
        return [_do(item, folder) for item in batch]

    yield OpenWork(work)


def wait_for(path: Path) -> None:
    """Wait until somebody has made a file."""
    wait_until(path.exists)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, f"{is_so} is not so after {PATIENCE} s"
        time.sleep(0.05)


@contextmanager
def open_threads() -> Iterator[OpenWork[str, ShardResult]]:
    """Work that tells with how many threads torch computes."""
    import torch

    row = {"item_id": "", "reason": "", "text": str(torch.get_num_threads())}
    yield OpenWork(lambda batch: [ShardResult([row]) for _ in batch])


@contextmanager
def open_pids() -> Iterator[OpenWork[str, ShardResult]]:
    """Work that tells which process does it."""
    row = {"item_id": "", "reason": "", "text": str(os.getpid())}
    yield OpenWork(lambda batch: [ShardResult([row]) for _ in batch])


@contextmanager
def refuse_to_open() -> Iterator[OpenWork[str, ShardResult]]:
    raise UserError("model 'm'", "has no weights", "download it")
    yield
