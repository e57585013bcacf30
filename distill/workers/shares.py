"""Work in shares, for machines without Ray: processes that know nothing of each other, such as
those of a Slurm array, each compute a part of a stage into files, which the process that writes the
run takes over."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.runtime.interrupt import Interrupt
from distill.runtime.progress import Progress, TokenCounts
from distill.runtime.versions import read_versions
from distill.workers.device import describe_device
from distill.workers.local import LOCAL
from distill.workers.proof import describe_differences, hash_source
from distill.workers.protocol import (
    BatchResult,
    LazyBatches,
    ShareFormat,
    Team,
    WorkerJob,
    subtract_counts,
)
from distill.workers.share_files import read_result, write_result

T = TypeVar("T")
R = TypeVar("R")
FOLDER = "shares"
_PROGRAM = "program.json"


@dataclass(frozen=True)
class WorkShare:
    """One of `count` shares of a stage; the first has the number 0."""

    number: int
    count: int

    def take(self, batches: int) -> range:
        """Choose the batches of this share: of one that is not the first, those behind the share
        before it."""
        ends = [batches * place // self.count for place in (self.number, self.number + 1)]
        return range(*ends)


class SharesPause(Exception):
    """Raised where this process has done its part, and others go on. Its words say what comes
    next."""


class ShareWorkers:
    """Compute one share of the stage that is open for shares, and leave the results beside the run.
    Nothing else is written."""

    local = False
    hold_models = False
    reads_only = True

    def __init__(self, folder: Path, share: WorkShare) -> None:
        self._folder = folder
        self._share = share

    @contextmanager
    def begin(self, job: WorkerJob[T, R]) -> Iterator[Team[R]]:
        """Compute the share's batches of a job.

        Raises:
            SharesPause: when they are done, or if the job is not open for shares.
            UserError: if this is another program than the one that opened it.
        """
        if not job.batches:
            with LOCAL.begin(job) as team:
                yield team
            return
        format_ = job.share
        place = None if format_ is None else self._folder / FOLDER / format_.key
        if format_ is None or place is None or not place.is_dir():
            raise SharesPause(describe_unopened(job.name))
        _check_program(place)
        numbers = [
            number
            for number in self._share.take(len(job.batches))
            if not _is_computed(place, format_, number)
        ]
        mine = _select(job, numbers)
        with (
            LOCAL.begin(mine) as team,
            Interrupt() as interrupt,
            Progress(job.name, len(numbers), "batches", 0, team.tokens) as progress,
        ):
            device = describe_device() if numbers else ""
            before = dict(team.tokens()) if team.tokens else {}
            for number, values, seconds in team.iterate_results(lambda: interrupt.is_requested):
                after = dict(team.tokens()) if team.tokens else {}
                head = {
                    "seconds": seconds / len(values),
                    "device": device,
                    "tokens": subtract_counts(after, before),
                }
                before = after
                for name, value in zip(format_.names(numbers[number]), values, strict=True):
                    write_result(place / name, head, format_.encode(value))
                    head = {**head, "tokens": {}}
                progress.advance()
            interrupt.stop_if_requested()
        raise SharesPause(
            f"share {self._share.number}/{self._share.count} of {job.name} is computed; when all "
            "are, `distill run --finish` takes them over"
        )

    def dismiss_all(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class ShareTaker:
    """Takes over what shares have computed; this process does the rest.

    Args:
        stops: it opens the next stage of a model for shares, and ends in front of it.
        mixed_devices: whether shares of one stage may come from devices of several kinds.
    """

    hold_models = False
    reads_only = False

    def __init__(self, folder: Path, stops: bool, mixed_devices: bool = False) -> None:
        self._folder = folder
        self._stops = stops
        self.mixed_devices = mixed_devices

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _get_local, ()

    @property
    def local(self) -> bool:
        """Whether nothing but this process reads the stage's inputs."""
        return not self._stops

    @contextmanager
    def begin(self, job: WorkerJob[T, R]) -> Iterator[Team[R]]:
        """Begin a job: with what shares have computed of it, if it was open for them.

        Raises:
            SharesPause: if it is open for shares from now on.
        """
        format_ = job.share
        place = None if format_ is None else self._folder / FOLDER / format_.key
        if format_ is None or place is None or not place.is_dir():
            if place is not None and self._stops and _is_shareable(job):
                place.mkdir(parents=True)
                program = {"versions": read_versions(), "source": hash_source()}
                write_json(place / _PROGRAM, program)
                raise SharesPause(
                    f"{job.name} is open for shares, {len(job.batches)} batches: `distill run "
                    "--shard I/N` computes one of N, and `distill run --finish` takes them over"
                )
            with LOCAL.begin(job) as team:
                yield team
            return
        yield _TakingTeam(job, format_, place, self.mixed_devices)
        shutil.rmtree(place)

    def dismiss_all(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _TakingTeam(Generic[T, R]):
    note = ""

    def __init__(
        self, job: WorkerJob[T, R], format_: ShareFormat[R], place: Path, mixed_devices: bool
    ) -> None:
        self._job, self._format, self._place = job, format_, place
        self._mixed_devices = mixed_devices
        self._devices = set[str]()
        self._tokens = Counter[str]()
        self._taken = 0
        self._own: TokenCounts | None = None

    @property
    def tokens(self) -> TokenCounts | None:
        return self._count_tokens if self._job.needs.kind == "llm" else None

    def _count_tokens(self) -> Counter[str]:
        return self._tokens + Counter(self._own() if self._own else {})

    def iterate_results(self, stopping: Callable[[], bool]) -> Iterator[BatchResult[R]]:
        missing = []
        for number in range(len(self._job.batches)):
            if stopping():
                return
            result = self._read(number)
            if result is None:
                missing.append(number)
                continue
            yield result
            for name in self._format.names(number):  # it is committed
                (self._place / name).unlink()
        with LOCAL.begin(_select(self._job, missing)) as team:
            self._own = team.tokens
            if missing and self._taken:
                self._check_device(describe_device())
            for result in team.iterate_results(stopping):
                yield result._replace(number=missing[result.number])

    def describe(self) -> dict[str, Any]:
        if not self._taken:
            return {}
        return {
            "on": "shares",
            "devices": sorted(self._devices),
            "batches_taken_over": self._taken,
        }

    def _read(self, number: int) -> BatchResult[R] | None:
        """Read a batch's results; None if one is missing or damaged."""
        files = [read_result(self._place / name) for name in self._format.names(number)]
        values = [self._format.decode(file.content) for file in files if file is not None]
        if len(values) < len(files):
            return None
        seconds = 0.0
        for file in filter(None, files):
            self._check_device(file.head["device"])
            self._tokens.update(file.head["tokens"])
            seconds += file.head["seconds"]
        self._taken += 1
        return BatchResult(number, values, seconds)

    def _check_device(self, device: str) -> None:
        self._devices.add(device)
        if len(self._devices) > 1 and not self._mixed_devices:
            raise UserError(
                f"the shares of {self._job.name}",
                f"were computed on {' and '.join(sorted(self._devices))}: their last digits differ",
                f"use machines of one kind, or set execution.mixed_devices: true; delete "
                f"{self._place} to compute the stage anew",
            )


def _is_shareable(job: WorkerJob[Any, Any]) -> bool:
    """Return whether shares are worth while: a model computes it, and there is more than one
    batch."""
    return job.needs.kind != "cpu" and not job.needs.here and len(job.batches) > 1


def _is_computed(place: Path, format_: ShareFormat[Any], number: int) -> bool:
    return all(read_result(place / name) is not None for name in format_.names(number))


def _select(job: WorkerJob[T, R], numbers: Sequence[int]) -> WorkerJob[T, R]:
    batches = LazyBatches(len(numbers), lambda place: job.batches[numbers[place]])
    return replace(job, batches=batches, group=lambda place: job.group(numbers[place]))


def _check_program(place: Path) -> None:
    """Refuse to compute for another program.

    Raises:
        UserError: naming what differs.
    """
    program = read_json(place / _PROGRAM)
    differs = describe_differences(program["versions"], program["source"])
    if differs:
        raise UserError(
            str(place),
            f"was opened by a program of other versions than this one has: {differs}",
            "install the same environment on every machine, such as one container image",
        )


def describe_unopened(name: str) -> str:
    """Say that a share cannot begin a stage."""
    return f"{name} is not open for shares: `distill run --finish` does what one process does first"


def _get_local() -> object:
    return LOCAL
