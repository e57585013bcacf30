"""An engine that is loaded when it is first needed, and closed when its memory is needed."""

from collections.abc import Callable

from distill.llm.protocol import LLM
from distill.recipe import Retriever
from distill.runtime.progress import show_activity


class LazyLLM:
    """Returns the open engine when called. After `close` the next call loads it anew, so each stage
    must call this when it begins, and not use the engine of an earlier stage.

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
            _free_memory()  # of the models of earlier stages
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
            _free_memory()


def _free_memory() -> None:
    from distill.runtime.devices import free_memory  # imports torch

    free_memory()
