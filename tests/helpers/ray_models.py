"""Work of stages with models, whose workers tell what they hold."""

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel

from distill.embed.encoder import Encoder
from distill.embed.on_workers import open_on_worker
from distill.errors import UserError
from distill.llm.protocol import LLM
from distill.relabel.rankers.cross_encoder import LazyCrossEncoder
from distill.store.stage import ShardResult
from distill.workers.protocol import OpenWork


def _say(words: str) -> ShardResult:
    return ShardResult([{"item_id": "item", "reason": "", "text": words}])


@contextmanager
def open_llm(llm: Callable[[], LLM]) -> Iterator[OpenWork[str, ShardResult]]:
    """Work that tells how often an engine was asked for."""
    engine: Any = llm()

    def work(batch: Sequence[str]) -> list[ShardResult]:
        engine.asked = getattr(engine, "asked", 0) + 1
        return [_say(f"asked {engine.asked} times") for _ in batch]

    yield OpenWork(work)


@contextmanager
def open_rankers(
    encoders: Sequence[Encoder], cross_encoders: Sequence[LazyCrossEncoder] = ()
) -> Iterator[OpenWork[str, ShardResult]]:
    """Work that tells how often each model was asked for since it was loaded."""
    models: list[Any] = [*encoders, *(of() for of in cross_encoders)]

    def work(batch: Sequence[str]) -> list[ShardResult]:
        for model in models:
            model.asked = getattr(model, "asked", 0) + 1
        return [_say(" ".join(str(model.asked) for model in models)) for _ in batch]

    yield OpenWork(work)


class SentEncoder:
    """An encoder that a worker opens where this arrives, as the retriever's is opened."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def __reduce__(self) -> tuple[Any, ...]:
        return open_on_worker, (self._encoder.source, self._encoder.identity)


@contextmanager
def open_sent(sent: Any) -> Iterator[OpenWork[str, ShardResult]]:
    """Work that tells what something that was sent found when it arrived."""
    yield OpenWork(lambda batch: [_say(str(sent)) for _ in batch])


class LoadsLast:
    """Loads a model where it arrives, as an encoder does; counts those that are there before."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _count_models, ()


def _count_models() -> str:
    gc.collect()
    kinds = (PreTrainedModel, SentenceTransformer)
    return f"{sum(isinstance(thing, kinds) for thing in gc.get_objects())} models in memory"


class RefusesToArrive:
    """Refuses to be opened in a worker, and leaves a mark for each time."""

    def __init__(self, marks: Path) -> None:
        self._marks = marks

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, (self._marks,)


def _refuse(marks: Path) -> None:
    (marks / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    raise UserError("model 'm'", "would give other vectors on a worker", "set its dtype")
