"""What a person did wrong or has not installed: said with place and remedy, exit code 2."""

import importlib
import importlib.util
from types import ModuleType
from typing import Any


def install_command(extra: str) -> str:
    """How an extra is installed: from the checkout, for a registry may hold another `distill`."""
    return f"in distill's checkout: pip install -e '.[{extra}]'"


class DistillError(Exception):
    """What every exception of distill's own is: one that crosses the border of a process whole,
    with its message and its fields, whatever its constructor takes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(
    kind: type[DistillError], arguments: tuple[Any, ...], fields: dict[str, Any]
) -> DistillError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(fields)
    return error


class UserError(DistillError):
    """Bad input. `where` names the file and row, `what` the fault, `remedy` the way out.

    The command line prints the three and exits with code 2, without a traceback.
    """

    def __init__(self, where: str, what: str, remedy: str) -> None:
        super().__init__(f"{where}: {what}\n  remedy: {remedy}")
        self.where = where
        self.what = what
        self.remedy = remedy


def need(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or name the extra that brings it.

    Raises:
        UserError: if `module` is not installed.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise UserError(
            f"module {module!r}",
            "is not installed in this environment",
            install_command(extra),
        )
    return importlib.import_module(module)
