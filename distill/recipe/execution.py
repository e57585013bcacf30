"""The `execution` section: who does the work of the stages. It changes no result, and is in no
fingerprint."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from distill.recipe.sections.section import Section, Word
from distill.workers.node_copy import CopySource
from distill.workers.protocol import WorkerKind

Count = Annotated[int, Field(gt=0, le=100_000)]


class Execution(Section):
    """The section `execution`: the process or the Ray workers that do the work of the stages."""

    section: ClassVar[str | None] = "execution"

    mode: Literal["local", "ray"] = "local"
    """Who does the work of the stages before training: local, this process; ray, the workers of a
    Ray cluster. `execution: ray` alone is short for `{mode: ray}`."""
    address: Word = "auto"
    """The Ray cluster: auto, the one that this machine belongs to (or that RAY_ADDRESS names);
    local, one of this machine alone; or HOST:PORT of its head."""
    workers: dict[WorkerKind, Count] = {}
    """Number of workers by kind, such as {llm: 8}; kinds are llm, encoder (and cross-encoder), cpu
    and train (the processes of `train.launcher: ray`). A kind that is not named: as many as the
    cluster has room for."""
    cpus: dict[WorkerKind, Count] = {}
    """CPUs of one worker by kind, such as {llm: 16}, which are also the threads that its model
    computes with; 1 for a kind that is not named."""
    tries: int = Field(3, gt=0, le=100)
    """How many workers a shard is tried on before the run ends with its error."""
    patience: float = Field(600.0, gt=0, le=604_800)
    """Longest time without any worker, in seconds, before the run ends."""
    mixed_devices: bool = False
    """Whether one stage may be computed on devices of different models, whose results differ in
    their last digits."""

    inputs: Literal["shared", "copy"] = "shared"
    """How workers read the run: shared, all nodes have its folder; copy, a node without it fetches
    what its workers read from `store`, into a folder of its own at the same path."""
    copy_gib: float | None = Field(None, gt=0)
    """Most that a node's copy of the run may take, in GiB: what earlier commands fetched makes
    room; null: as much as the disk has."""

    @property
    def cluster(self) -> dict[str, Any]:
        """How the cluster is used, by the names of `ClusterSettings`."""
        return self.model_dump(exclude={"mode", "inputs", "copy_gib"})

    def make_copy_source(self, store: str | None) -> CopySource | None:
        """Make the description of where nodes copy the run from; None where they share it."""
        if self.inputs == "shared" or store is None:
            return None
        most = None if self.copy_gib is None else int(self.copy_gib * 2**30)
        return CopySource(store, secrets.token_hex(8), most)

    def check(
        self,
        devices: Mapping[str, str | None],
        data_parallel: int,
        store: str | None,
        launcher: str,
    ) -> None:
        """Check what does not go with a cluster.

        Args:
            devices: of the models, by the sections that name them.
            data_parallel: the larger of the language models' `data_parallel`.
            store: of the run.
            launcher: `train.launcher`.

        Raises:
            ValueError: naming the key.
        """
        if self.inputs == "copy" and (self.mode == "local" or store is None):
            raise ValueError(
                "execution.inputs copy is for nodes of a Ray cluster that fetch what they read "
                "from the run's store: set execution.mode: ray and store"
            )
        if self.inputs == "copy" and launcher == "ray":
            raise ValueError(
                "train.launcher ray trains on nodes that write into the run's folder, which with "
                "execution.inputs copy they do not have: leave train.launcher out"
            )
        if self.mode == "local":
            return
        if data_parallel > 1:
            raise ValueError(
                "llm.data_parallel above 1 with execution ray: leave it out; the cluster's workers "
                "each hold a copy (execution.workers: {llm: 8})"
            )
        for name, device in devices.items():
            if device is not None and device.startswith("cuda:"):
                raise ValueError(
                    f"{name}.device {device} with execution ray, which gives GPUs out: name cuda"
                )

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, values: Any) -> Any:
        return {"mode": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _check_address(self) -> "Execution":
        if "://" in self.address:
            raise ValueError(
                "execution.address is auto, local or HOST:PORT: begin the run on a machine of the "
                "cluster"
            )
        return self
