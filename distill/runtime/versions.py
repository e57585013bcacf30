"""The versions of everything that a result depends on."""

import importlib.metadata
import platform

_VERSIONED = (
    "torch transformers sentence-transformers faiss-cpu faiss-gpu bm25s datasets mteb numpy pyarrow"
)


def read_versions() -> dict[str, str]:
    """Read the versions that a result depends on: of Python, of distill and of the installed
    libraries."""
    versions = {"python": platform.python_version()}
    for name in ("distill", *_VERSIONED.split()):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
