"""An engine that is opened when it is first needed, and closed when its memory is."""

from collections.abc import Callable

from distill.llm.protocol import LLM
from distill.recipe import Retriever
from distill.runtime.devices import free_memory


class LazyLLM:
    """Calling it gives the open engine. After `close` the next call opens it anew, so a stage that
    is handed this must call it when it begins, and not hold the engine of an earlier stage.

    Args:
        load: opens the engine.
        served: it computes elsewhere, so that its memory is in nobody's way.
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
            free_memory()  # of what earlier stages computed with
            self._engine = self._load()
        return self._engine

    def make_room(self) -> None:
        """Close an engine whose weights are on this machine, before other weights are loaded."""
        if not self._served:
            self.close()

    def make_room_for(self, retriever: Retriever) -> None:
        """Close an engine on this machine, unless the retriever computes elsewhere."""
        if retriever.base_url is None:
            self.make_room()

    def close(self) -> None:
        if self._engine is not None:
            if not self._borrowed:
                self._engine.close()
            self._engine = None
            free_memory()
