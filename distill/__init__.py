"""distill: a corpus and an LLM in, a small embedding model out, measured against its teacher.

The public functions are loaded when they are first used: `import distill` alone imports nothing
large. `distill.api` describes them.
"""

import importlib
import inspect as _inspect
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.api import *  # noqa: F403
    from distill.errors import UserError as UserError

__version__ = "0.1.0"

_FUNCTIONS = [
    "ablate",
    "check",
    "compare",
    "copy_recipe",
    "doctor",
    "estimate",
    "evaluate",
    "explain_key",
    "export",
    "export_index",
    "export_judge",
    "generate",
    "init",
    "inspect",
    "judge",
    "list_recipes",
    "load_recipe",
    "open_run",
    "read_corpus",
    "relabel",
    "report",
    "run",
    "score_teacher",
    "search",
    "search_each",
    "show_prompt",
    "train_judge",
    "train_student",
]
__all__ = ["RunFolder", "UserError", *_FUNCTIONS]  # noqa: F405

# Where another process wants the same cores, OpenMP's threads spin waiting for one another and
# small matrix products become an order of magnitude slower. Waiting passively costs about a fifth
# of their speed where the cores are free: OMP_WAIT_POLICY=ACTIVE, set outside, takes it back.
# OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'distill' has no attribute {name!r}")
    module = "distill.errors" if name == "UserError" else "distill.api"
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _CallableFolder(ModuleType):
    """A folder of code that has the name of a public function, such as `distill.evaluate`: calling
    it calls the function, and its modules are imported as ever."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function(*arguments, **named)

    @property
    def __signature__(self) -> _inspect.Signature:
        return _inspect.signature(self._function)

    @property
    def _function(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module("distill.api"), name)


for _name in ("estimate", "evaluate", "export", "generate", "inspect", "relabel", "report"):
    importlib.import_module(f"distill.{_name}")  # none of them imports anything itself
    sys.modules[f"distill.{_name}"].__class__ = _CallableFolder
