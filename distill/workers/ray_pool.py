"""The workers of a Ray cluster, from stage to stage: asked for, proved to be the same, and let go
where another kind needs their place."""

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from distill.errors import UserError, need, quote_fault
from distill.workers.local import LOCAL
from distill.workers.node_copy import CopySource
from distill.workers.proof import NONCE, ProofRequest, WorkerIdentity, write_proof_request
from distill.workers.protocol import WorkerNeeds

_log = logging.getLogger(__name__)
_SECONDS_TO_ANSWER = 10.0
_SECONDS_BETWEEN_CALLS = 1.0
_RAYS_TRIES = "RAY_gcs_server_port_wait_time_s"
"""How often Ray calls a head, of which each call takes it 40 seconds: 20 times by default."""


@dataclass(frozen=True)
class ClusterSettings:
    """The settings by which a cluster is used; see the recipe's section `execution`."""

    address: str = "auto"
    workers: Mapping[str, int] = field(default_factory=dict)
    cpus: Mapping[str, int] = field(default_factory=dict)
    tries: int = 3
    patience: float = 600.0
    mixed_devices: bool = False
    copies: CopySource | None = None


class Demand(NamedTuple):
    """The CPUs and GPUs that one worker takes of a node."""

    cpus: int
    gpus: int

    def count_lost_places(self, other: "Demand") -> int:
        """Count how many places of this demand a worker of another one takes away at most, on
        whatever node it is."""
        by_cpus = math.ceil(other.cpus / self.cpus)
        return max(by_cpus, math.ceil(other.gpus / self.gpus)) if self.gpus else by_cpus

    def describe(self) -> str:
        """Say it in words."""
        cpus = f"{self.cpus} CPU{'s' if self.cpus > 1 else ''}"
        return f"{cpus} and {self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else cpus


@dataclass(eq=False)
class WorkerHandle:
    """A worker as the driver sees it.

    Args:
        identity: None until it has proved that it is the same.
        asked: when it was asked for, by `read_clock`.
        ready: it has opened the job's work.
        batches: that it was given, of which it works on the first.
        last: the batch that it was given last.
    """

    actor: Any
    demand: Demand
    identity: WorkerIdentity | None = None
    proving: Any = None
    asked: float = 0.0
    ready: bool = False
    batches: list[int] = field(default_factory=list)
    last: int | None = None

    @property
    def node(self) -> str:
        """Its node, where that is known."""
        return self.identity.node if self.identity else "a node not known yet"


class RayPool:
    """Worker processes of a Ray cluster; connected to when the first stage has work for them.

    Args:
        folder: the run's, which all of them read.
        copy_for_workers: puts what workers read into the run's store, from which nodes copy it.
    """

    local = False
    hold_models = True
    reads_only = False

    def __init__(
        self,
        settings: ClusterSettings,
        folder: Path,
        copy_for_workers: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.copy_for_workers = copy_for_workers
        self.handles: list[WorkerHandle] = []
        self._folder = folder
        self._ray: Any = None
        self._owns_connection = False
        self._request: Any = None

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _get_local, ()  # a worker has no workers of its own

    @property
    def ray(self) -> Any:
        """The module, connected to the cluster.

        Raises:
            UserError: if Ray is not installed, or no cluster answers.
        """
        if self._ray is None:
            self._ray = need("ray", "ray")
            self._owns_connection = not self._ray.is_initialized()
            if self._owns_connection:
                connect(self._ray, self.settings.address)
            self._request = write_proof_request(self._folder, self.settings.copies)
        return self._ray

    @property
    def request(self) -> ProofRequest:
        """What a process of the cluster has to prove before it works for this run."""
        assert self.ray is not None  # which writes it
        request: ProofRequest = self._request
        return request

    def dismiss_all(self) -> None:
        """Let all workers go."""
        for handle in list(self.handles):
            self.dismiss(handle)

    def close(self) -> None:
        """Let all workers go, and the connection if it was made here."""
        if self._ray is None:
            return
        self.dismiss_all()
        (self._folder / NONCE).unlink(missing_ok=True)
        if self._owns_connection:
            self._ray.shutdown()
        self._ray = None

    def find_demand(self, needs: WorkerNeeds) -> Demand:
        """Find what one worker takes. A model without a device takes GPUs where the cluster has
        some."""
        total = self.ray.cluster_resources().get("GPU", 0)
        wants_gpu = needs.device.startswith("cuda") if needs.device else bool(total)
        gpus = needs.gpus if needs.kind != "cpu" and wants_gpu else 0
        return Demand(self.settings.cpus.get(needs.kind, 1), gpus)

    def count_places(self, needs: WorkerNeeds, demand: Demand) -> int:
        """Count how many workers to ask for: what the recipe says, else what the cluster has room
        for; one at least."""
        if needs.kind in self.settings.workers:
            return self.settings.workers[needs.kind]
        return max(1, self.count_room(demand))

    def count_room(self, demand: Demand) -> int:
        """Count how many workers the cluster has room for."""
        places = 0
        for node in self.ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            room = has.get("CPU", 0) // demand.cpus
            places += int(min(room, has.get("GPU", 0) // demand.gpus) if demand.gpus else room)
        return places

    def ask(self, demand: Demand) -> WorkerHandle:
        """Ask the cluster for one more worker, which begins by proving itself."""
        from distill.workers.ray_actor import RayWorker

        # Retries are the driver's: it knows which batch was lost.
        actor = (
            self.ray.remote(RayWorker)
            .options(
                num_cpus=demand.cpus,
                num_gpus=demand.gpus,
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy="SPREAD",
            )
            .remote()
        )
        handle = WorkerHandle(actor, demand, asked=read_clock())
        handle.proving = actor.prove.remote(self._request)
        self.handles.append(handle)
        return handle

    def dismiss(self, handle: WorkerHandle) -> None:
        """End a worker and whatever it does."""
        self.handles.remove(handle)
        try:
            self.ray.kill(handle.actor, no_restart=True)
        except Exception as fault:  # noqa: BLE001 (it is gone already)
            _log.debug("a worker could not be ended: %s", fault)

    def describe_cluster(self) -> str:
        """Say what the cluster has."""
        return describe_resources(self.ray.cluster_resources())

    def make_room(self, demand: Demand, wanted: int) -> None:
        """Let idle workers of other kinds go until so many of these have a place for certain. A
        model is slow to load onto a GPU: for workers without one it goes only where they would have
        less than half of what they want."""
        others = [handle for handle in self.handles if handle.demand != demand]
        these = [handle for handle in self.handles if handle.demand == demand]
        if not others or sum(handle.identity is not None for handle in these) >= wanted:
            return
        places = self.count_room(demand)
        least = wanted if demand.gpus else math.ceil(wanted / 2)
        for handle in others:
            alike = bool(handle.demand.gpus) == bool(demand.gpus)
            if not handle.batches and (alike or self._count_left(places, demand) < least):
                self.dismiss(handle)

    def _count_left(self, places: int, demand: Demand) -> int:
        """Count how many of a demand's places are left beside the workers of other kinds."""
        taken = (
            demand.count_lost_places(handle.demand)
            for handle in self.handles
            if handle.demand != demand
        )
        return places - sum(taken)


def connect(ray: Any, address: str) -> None:
    """Connect this process to a cluster, or make one of this machine for `local`.

    Raises:
        UserError: if no cluster answers.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address == "local":
            _begin(ray, address="local", include_dashboard=False)  # None: whichever runs here
        else:
            _wait_for_head(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address)
            with _call_once():
                _begin(ray, address=address)
    except (ray.exceptions.RayError, OSError, ValueError, RuntimeError) as fault:
        raise UserError(
            f"the Ray cluster {address!r}",
            f"cannot be reached: {quote_fault(fault)}",
            "start one with `ray start --head` on this machine and `ray start --address=HOST:6379` "
            "on the others, set execution.address, or take execution out of the recipe; "
            "`distill doctor` shows the cluster",
        ) from fault
    finally:
        # Ray ends the process on SIGTERM; distill commits what is in flight first.
        if on_main_thread and before is not None:
            signal.signal(signal.SIGTERM, before)


def _begin(ray: Any, **settings: Any) -> None:
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)


def _wait_for_head(address: str) -> None:
    """Wait a little until somebody answers at HOST:PORT. Ray itself would wait a quarter of an hour
    for a wrong address. Where it says something else, that is left to Ray.

    Raises:
        ConnectionError: if nobody does.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        return
    until = read_clock() + _SECONDS_TO_ANSWER
    while True:
        try:
            place = host.strip("[]"), int(port)
            socket.create_connection(place, timeout=_SECONDS_TO_ANSWER).close()
            return
        except OSError as fault:
            if read_clock() > until:
                raise ConnectionError(f"nobody answers at {address}: {fault}") from fault
            time.sleep(_SECONDS_BETWEEN_CALLS)


@contextmanager
def _call_once() -> Iterator[None]:
    """Have Ray call a head once: whoever answers, but is no Ray, would be called 20 times."""
    before = os.environ.get(_RAYS_TRIES)
    os.environ.setdefault(_RAYS_TRIES, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_RAYS_TRIES]


def describe_resources(resources: Mapping[str, float]) -> str:
    """Say in words what a cluster has."""
    nodes = sum(name.startswith("node:") and "internal" not in name for name in resources)
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    return f"{nodes} node{'s' if nodes != 1 else ''} with {cpus} CPUs and {gpus} GPUs"


def describe_node(node: Mapping[str, Any]) -> str:
    """Say in words what `ray.nodes` tells of a node."""
    has = node["Resources"]
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    return f"{node['NodeManagerAddress']} {cpus} CPUs" + (f", {gpus} GPUs" if gpus else "")


def _get_local() -> object:
    return LOCAL


def read_clock() -> float:
    """Read a clock that only goes forward, in seconds."""
    return time.monotonic()
