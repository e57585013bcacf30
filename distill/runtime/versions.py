"""The versions of everything that a result depends on."""

import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path

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
def find_commit() -> str | None:
    """Find the git commit of this code where it runs from a checkout; None of an installed package,
    whose version says what it is."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    words = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


@cache
def _read_version(name: str) -> str | None:
    """Read a library's version, once in a process: each stage records all of them, and a library's
    whole description is parsed for its version."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
