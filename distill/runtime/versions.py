"""The versions of everything that a result depends on."""

import importlib.metadata
import platform
from functools import cache

_VERSIONED = (
    "torch transformers sentence-transformers faiss-cpu faiss-gpu bm25s datasets mteb numpy pyarrow"
)


def read_versions() -> dict[str, str]:
    """Read the versions that a result depends on: of Python, of distill and of the installed
    libraries."""
    installed = {name: _read_version(name) for name in ("distill", *_VERSIONED.split())}
    return {
        "python": platform.python_version(),
        **{name: version for name, version in installed.items() if version is not None},
    }


@cache
def _read_version(name: str) -> str | None:
    """Read a library's version, once in a process: each stage records all of them, and a library's
    whole description is parsed for its version."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
