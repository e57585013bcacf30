"""Work of an engine whose model is in a child process of the worker, as vLLM's is."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distill.llm.protocol import Sampling
from distill.llm.vllm.process import ModelProcess
from distill.store.stage import ShardResult
from distill.workers.protocol import OpenWork
from helpers.ray_work import wait_for

_STAND_IN = Path(__file__).with_name("stand_in")
"""Where the child finds a module named vllm."""


@contextmanager
def open_engine(marks: Path) -> Iterator[OpenWork[str, ShardResult]]:
    """Work that a child writes the rows of; it is killed while it computes the item `stops`, as
    where the machine has no memory left."""
    engine = _start_child(marks)
    (marks / f"child-{engine.process.pid}").touch()

    def work(batch: Sequence[str]) -> list[ShardResult]:
        return [_ask(engine, item, marks) for item in batch]

    try:
        yield OpenWork(work)
    finally:
        engine.stop()


def _start_child(marks: Path) -> ModelProcess:
    before = os.environ["PYTHONPATH"]
    os.environ["PYTHONPATH"] = os.pathsep.join((str(_STAND_IN), before))
    try:
        engine = ModelProcess("owner/stand-in", {"marks": str(marks)}, None)
    finally:
        os.environ["PYTHONPATH"] = before
    engine.receive()
    return engine


def _ask(engine: ModelProcess, item: str, marks: Path) -> ShardResult:
    kills = item == "stops" and not (marks / "computing").exists()
    engine.send("generate", [([ord(letter) for letter in item], 1)], Sampling(8))
    if kills:
        wait_for(marks / "computing")
        os.kill(engine.process.pid, signal.SIGKILL)
    ((text, *_),) = engine.receive()
    return ShardResult([{"item_id": item, "reason": "", "text": text}])
