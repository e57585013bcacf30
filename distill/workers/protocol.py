"""Work, and who does it: in this process, or in worker processes on many machines.

Workers compute and the one driver commits. A worker opens a piece of work once, which loads its
models, and is then given batch after batch of it.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, overload

from distill.runtime.progress import TokenCounts

T = TypeVar("T")
R = TypeVar("R")

WorkerKind = Literal["llm", "encoder", "cpu", "train"]
"""What a worker has in memory: a language model, an encoder or ranker, no model, or a student that
it trains together with others."""


@dataclass(frozen=True)
class WorkerNeeds:
    """The means that a worker needs for a piece of work.

    Args:
        kind: the model that it holds.
        device: of the model, as the recipe names it; None: a GPU where the cluster has some.
        gpus: how many GPUs one copy of the model takes, where it takes GPUs.
        here: it can only be done in this process: by an object of the program, or by a server,
            whose limits and replies are kept here.
    """

    kind: WorkerKind = "cpu"
    device: str | None = None
    gpus: int = 1
    here: bool = False


HERE = WorkerNeeds(here=True)


class OpenWork(NamedTuple, Generic[T, R]):
    """Work that is ready to be done.

    Args:
        work: gives a result for each item of a batch, in order.
        tokens: the counters of the engine that it uses, if it uses one.
    """

    work: Callable[[Sequence[T]], Iterable[R]]
    tokens: TokenCounts | None = None


class LazyBatches(Sequence[Sequence[T]]):
    """Batches that are made when they are asked for, so that few are in memory."""

    def __init__(self, count: int, make: Callable[[int], Sequence[T]]) -> None:
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Sequence[T]: ...

    @overload
    def __getitem__(self, number: slice) -> list[Sequence[T]]: ...

    def __getitem__(self, number: int | slice) -> Sequence[T] | list[Sequence[T]]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        if not 0 <= number < self._count:
            raise IndexError(number)
        return self._make(number)


Opens = Callable[[], AbstractContextManager[OpenWork[T, R]]]
"""Opens work; called once a worker. For workers that are other processes it has to be picklable: a
function of a module with plain values, such as `partial(open_parser, recipe)`."""


@dataclass(frozen=True)
class ShareFormat(Generic[R]):
    """The form in which processes that compute shares of a job keep results in files.

    Args:
        key: names the job: by what it makes, so that it is the same in every process.
        names: names the files of a batch's results, likewise.
    """

    key: str
    names: Callable[[int], Sequence[str]]
    encode: Callable[[R], bytes]
    decode: Callable[[bytes], R]


@dataclass(frozen=True)
class WorkerJob(Generic[T, R]):
    """A piece of work in batches.

    Args:
        name: of the stage, for errors.
        batches: each is done in one call.
        group: of a batch's number: batches of a group read the same data, so they go to one worker
            where that leaves no other idle.
        share: None where it cannot be computed in shares.
        name_batch: names a batch for errors; None: by its first item.
        remedy: what a person should do if a batch fails too often.
    """

    name: str
    opens: Opens[T, R]
    batches: Sequence[Sequence[T]]
    needs: WorkerNeeds
    group: Callable[[int], Hashable] = lambda number: None
    share: ShareFormat[R] | None = None
    name_batch: Callable[[int], str] | None = None
    remedy: str = (
        "fix what it says (memory: a smaller batch; a time limit: execution.tries); what is done "
        "is kept, and the same command continues"
    )


class BatchResult(NamedTuple, Generic[R]):
    """The results of a batch, and the `seconds` of the worker's own time."""

    number: int
    values: Sequence[R]
    seconds: float


class Team(Protocol[R]):
    """The workers of one job."""

    @property
    def tokens(self) -> TokenCounts | None:
        """The counters of all engines together, as they stand; None where there is no engine."""
        ...

    @property
    def note(self) -> str:
        """What a person should know of the workers while they work; empty for none."""
        ...

    def iterate_results(self, stopping: Callable[[], bool]) -> Iterator[BatchResult[R]]:
        """Yield each batch's result as it comes, in any order. Once `stopping` is true nothing new
        is begun, and what is in flight is still yielded."""
        ...

    def describe(self) -> dict[str, Any]:
        """Describe who did the work, for the stage's manifest; empty for this process alone."""
        ...


class Workers(Protocol):
    """Whoever does the work of a run's stages."""

    @property
    def local(self) -> bool:
        """Whether all work is done in this process."""
        ...

    @property
    def hold_models(self) -> bool:
        """Whether workers elsewhere have the models in memory, and this process needs none."""
        ...

    @property
    def reads_only(self) -> bool:
        """Whether this process writes nothing of the run."""
        ...

    def begin(self, job: WorkerJob[T, R]) -> AbstractContextManager[Team[R]]:
        """Begin a job, and end what it has in flight with the context."""
        ...

    def dismiss_all(self) -> None:
        """Let all workers go, with their models; the next job asks for others. For this process'
        own models, which may need the memory of a GPU that a worker has."""
        ...

    def close(self) -> None:
        """Let all workers go, for good."""
        ...


def subtract_counts(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """Compute how much each counter has grown."""
    return {key: count - before.get(key, 0) for key, count in after.items()}
