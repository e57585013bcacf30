"""The programs that read text files, which have to be the same wherever a corpus is read."""

import importlib.metadata
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping

from distill.corpus.sections.formats import list_needed_readers
from distill.errors import UserError, install_command

_ALWAYS = ("beautifulsoup4", "docutils", "markdown-it-py", "regex")
"""Libraries that every installation of distill has."""
_ABSENT = "none"


def read_reader_versions(endings: Iterable[str]) -> dict[str, str]:
    """Read the versions of what reads files with these endings, by name; `none` for what is not
    installed."""
    return {name: _read_version(name) for name in (*_ALWAYS, *list_needed_readers(endings))}


def check_same_readers(versions: Mapping[str, str]) -> None:
    """Check that this machine reads files by the same programs as the one that writes the run.

    Args:
        versions: of that one.

    Raises:
        UserError: naming this machine, what it has, and what it should have.
    """
    differs = [
        f"{name} {own} instead of {wanted}"
        for name, wanted in versions.items()
        if (own := _read_version(name)) != wanted
    ]
    if differs:
        raise UserError(
            f"node {socket.gethostname()}",
            "would read the corpus by other programs than the process that writes the run: "
            + ", ".join(differs),
            "install the same environment on every node, such as one container image "
            f"({install_command('documents')}; apt install groff-base)",
        )


def _read_version(name: str) -> str:
    if name == "groff":
        return _read_groff_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return _ABSENT


def _read_groff_version() -> str:
    if shutil.which("groff") is None:
        return _ABSENT
    done = subprocess.run(["groff", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]
