"""An engine that is loaded when it is first needed, and closed when its memory is needed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.llm.protocol import LLM
from distill.models.sources.in_memory import is_object
from distill.recipe import LanguageModel, Retriever
from distill.runtime.progress import show_activity
from distill.workers.held_model import keep_alone
from distill.workers.protocol import HERE, WorkerNeeds


class LazyLLM:
    """Returns the open engine when called. After `close` the next call loads it again, so each
    stage must call this when it begins, and not use the engine of an earlier stage.

    Args:
        load: loads the engine.
        served: the engine runs on a server, so that its memory need not be freed here.
        borrowed: it belongs to the caller, who closes it.
    """

    def __init__(
        self, load: Callable[[], LLM], served: bool = False, borrowed: bool = False
    ) -> None:
        self._load = load
        self._served = served
        self._borrowed = borrowed
        self._engine: LLM | None = None

    def __call__(self) -> LLM:
        if self._engine is None:
            _release_memory()  # of the models of earlier stages
            with show_activity("loading the LLM"):
                self._engine = self._load()
        return self._engine

    def make_room(self) -> None:
        """Close an engine whose weights are on this machine, before other weights are loaded."""
        if not self._served:
            self.close()

    def make_room_for(self, retriever: Retriever) -> None:
        """Close an engine on this machine, unless the retriever runs on a server."""
        if retriever.base_url is None:
            self.make_room()

    def close(self) -> None:
        """Close the engine, if one is open, and free its memory."""
        if self._engine is not None:
            if not self._borrowed:
                self._engine.close()
            self._engine = None
            _release_memory()


class RecipeLLM(LazyLLM):
    """The engine of a recipe's section. In a worker that it is sent to, it is the engine that the
    worker keeps from stage to stage.

    Args:
        requests: the file in which a server's replies are stored.
    """

    def __init__(self, settings: LanguageModel, requests: Path) -> None:
        def load() -> LLM:
            from distill.llm.load import load_llm  # imports torch

            return load_llm(settings, requests)

        super().__init__(load, settings.engine == "http", is_object(settings.model))
        self.settings = settings
        self.requests = requests

    def __reduce__(self) -> tuple[Any, ...]:
        return _keep_llm, (self.settings, self.requests)

    @property
    def needs(self) -> WorkerNeeds:
        """What a worker needs to run it."""
        gpus = self.settings.tensor_parallel
        here = self._served or self._borrowed
        return WorkerNeeds("llm", self.settings.device, gpus, here)


def choose_needs(llm: Callable[[], LLM]) -> WorkerNeeds:
    """Choose what a worker needs for an LLM: one that is not a recipe's stays in this process."""
    return llm.needs if isinstance(llm, RecipeLLM) else HERE


def _keep_llm(settings: LanguageModel, requests: Path) -> RecipeLLM:
    key = f"llm {settings.model_dump_json()}"
    return keep_alone(key, lambda: RecipeLLM(settings, requests))


def _release_memory() -> None:
    from distill.runtime.devices import free_memory  # imports torch

    free_memory()
