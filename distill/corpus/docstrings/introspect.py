"""The public objects of installed packages and their docstrings.

Runs as `python -m distill.corpus.docstrings.introspect PACKAGE...` in an interpreter of its own and
writes JSON Lines: what is found then depends on the installed packages alone, not on
what the caller has imported, patched or seeded, and what packages print or warn on import stays
there.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, ModuleType
from typing import Any, NamedTuple

from distill.errors import UserError

_LEVELS = 2
_SKIPPED = {"tests", "test", "testing", "conftest", "setup", "deprecated", "__main__"}
_IMPORT_FAULTS = (
    ImportError,
    OSError,
    RuntimeError,
    AttributeError,
    TypeError,
    ValueError,
    NameError,
    AssertionError,
    KeyError,
    SystemExit,
)
"""What the import of an optional module fails with, here for want of a dependency or device."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class DocObject(NamedTuple):
    """A public object: its shortest public name, its package, its docstring (indentation
    removed)."""

    name: str
    package: str
    doc: str


def find_public_objects(packages: tuple[str, ...]) -> tuple[list[DocObject], int]:
    """Find the documented public objects of packages, sorted by package and name, and how many
    modules could not be imported.

    Raises:
        UserError: if a package is not installed, or the interpreter that imports it dies.
    """
    read_package_versions(packages)
    # Some packages write docstrings from sets: their order must not differ between two calls.
    environment = os.environ | {"PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "distill.corpus.docstrings.introspect", *packages],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise UserError(
            f"corpus.packages {list(packages)}",
            f"the interpreter that reads their docstrings ended with code {done.returncode}",
            f"`python -c 'import {', '.join(packages)}'` shows what is wrong",
        )
    *rows, failed = [json.loads(line) for line in done.stdout.splitlines()]
    return [DocObject(*row) for row in rows], int(failed)


def read_package_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Read the versions of the distributions that bring the packages.

    Raises:
        UserError: naming a package that is not installed.
    """
    distributions = _find_distributions(_list_times_of_change())
    for package in packages:
        if package not in distributions:
            raise UserError(
                "corpus.packages",
                f"package {package!r} is not installed",
                "install it, or take it out of the recipe's corpus.packages",
            )
    return {p: importlib.metadata.version(sorted(distributions[p])[0]) for p in packages}


@functools.cache
def _find_distributions(times: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    """Find the distributions of each package: once, for the files of all of them are read."""
    return importlib.metadata.packages_distributions()


def _list_times_of_change() -> tuple[tuple[str, int], ...]:
    """List the folders of packages with their times of change: what is installed changes one."""
    return tuple((path, os.stat(path).st_mtime_ns) for path in sys.path if os.path.isdir(path))


def _list_objects(package: str, failures: list[str]) -> list[DocObject]:
    named = [
        (name, thing)
        for module in _import_modules(package, failures)
        for name, thing in _list_members(module)
    ]
    named += [
        pair
        for name, thing in named
        if inspect.isclass(thing)
        for pair in _list_methods(name, thing)
    ]
    named.sort(key=lambda pair: (pair[0].count("."), len(pair[0]), pair[0]))
    objects, seen = [], set()
    for name, thing in named:
        doc = _get_doc(thing)
        text = " ".join(doc.split()).casefold()
        if id(thing) in seen or not text or text in seen:
            continue
        seen |= {id(thing), text}
        objects.append(DocObject(name, package, doc))
    return sorted(objects)


def _import_modules(package: str, failures: list[str]) -> Iterator[ModuleType]:
    root = _import(package, failures)
    if root is None:
        return
    level = [root]
    for _ in range(_LEVELS):
        yield from level
        level = [inner for module in level for inner in _find_inner_modules(module, failures)]
    yield from level


def _find_inner_modules(module: ModuleType, failures: list[str]) -> Iterator[ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(getattr(module, "__path__", [])))
    for name in names:
        if name.startswith("_") or name in _SKIPPED:
            continue
        inner = _import(f"{module.__name__}.{name}", failures)
        if inner is not None:
            yield inner


def _import(name: str, failures: list[str]) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except _IMPORT_FAULTS:
        failures.append(name)
        return None


def _list_members(module: ModuleType) -> Iterator[tuple[str, Any]]:
    names = getattr(module, "__all__", None) or dir(module)
    for name in sorted({n for n in names if isinstance(n, str)}):
        if name.startswith("_"):
            continue
        with contextlib.suppress(*_IMPORT_FAULTS):
            thing = getattr(module, name)
            if _is_documented_kind(thing) and _is_from(thing, module.__name__):
                yield f"{module.__name__}.{name}", thing


def _list_methods(name: str, class_: type) -> Iterator[tuple[str, Any]]:
    """List public methods and properties, inherited ones too: their base may be private."""
    for attribute in sorted(dir(class_)):
        if attribute.startswith("_"):
            continue
        with contextlib.suppress(*_IMPORT_FAULTS):
            thing = inspect.getattr_static(class_, attribute)
            thing = getattr(thing, "__func__", thing)
            defined = thing.fget if isinstance(thing, property) else thing
            if _is_documented_kind(defined) and _is_from(defined, name):
                yield f"{name}.{attribute}", thing


def _is_documented_kind(thing: Any) -> bool:
    kinds = (type, FunctionType, BuiltinFunctionType, MethodDescriptorType)
    return isinstance(thing, kinds) or type(thing).__name__ in ("ufunc", "_ArrayFunctionDispatcher")


def _is_from(thing: Any, name: str) -> bool:
    """Return whether an object reached by `name` is defined in the same package; objects written in
    C often do not say where, and are then taken for what they were found as."""
    owner = getattr(thing, "__objclass__", thing)
    home = getattr(owner, "__module__", None)
    return home is None or home.partition(".")[0] == name.partition(".")[0]


def _get_doc(thing: Any) -> str:
    """Return an object's docstring without the addresses in default values, which no two processes
    share."""
    doc = thing.__doc__
    return _ADDRESS.sub("", inspect.cleandoc(doc)) if isinstance(doc, str) else ""


def _print_objects(packages: list[str]) -> None:
    # Packages may print on import: they get stderr, the rows get stdout.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    failures: list[str] = []
    for package in packages:
        for row in _list_objects(package, failures):
            print(json.dumps(row), file=out)
    print(len(failures), file=out)
    out.close()
    os._exit(0)  # past the exit handlers of what was imported


if __name__ == "__main__":
    _print_objects(sys.argv[1:])
