"""The exceptions for faults that a person can fix: they name the place and the remedy, and end a
command with exit code 2."""

import importlib
import importlib.util
import re
from types import ModuleType
from typing import Any


def install_command(extra: str) -> str:
    """Return the command that installs an extra: from the checkout, for a registry may hold another
    `distill`."""
    return f"in distill's checkout: pip install -e '.[{extra}]'"


_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tab and line break
    "\u202a-\u202e\u2066-\u2069"  # what turns the direction of a text
    "\ud800-\udfff]"  # halves of surrogate pairs: bytes of a path that is no UTF-8
)


def escape_unprintable(text: str) -> str:
    """Write as an escape, such as \\x1b, what a terminal would take for a command, or what cannot
    be written as UTF-8."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def quote_fault(fault: BaseException) -> str:
    """Return what a library's error says, as one line of 300 characters at most; its type's name
    where it says nothing."""
    return " ".join(str(fault).split())[:300] or type(fault).__name__


class DistillError(Exception):
    """The base class of all exceptions of distill. An exception of it that is sent to another
    process keeps its message and its fields, whatever arguments its constructor takes."""

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

    The command line prints the three and exits with code 2, without a traceback. They can be
    written to any terminal and log, whatever was quoted in them.
    """

    def __init__(self, where: str, what: str, remedy: str) -> None:
        self.where, self.what, self.remedy = map(escape_unprintable, (where, what, remedy))
        super().__init__(f"{self.where}: {self.what}\n  remedy: {self.remedy}")


class EngineFailure(DistillError):
    """An engine that cannot compute any more: its process ended, or its GPU failed. The input is
    not to blame: what is done is kept, and the same command continues in a new process.

    The command line prints the three and exits with code 3, without a traceback.
    """

    def __init__(self, where: str, what: str, remedy: str) -> None:
        self.where, self.what, self.remedy = map(escape_unprintable, (where, what, remedy))
        super().__init__(f"{self.where}: {self.what}\n  remedy: {self.remedy}")


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
