"""Name a model in a folder for fingerprints: not by the folder's path.

Its content, which stands beside it as `revision`, decides what a stage makes; its path does not,
and a run that was moved, copied or named relatively must continue. Earlier runs have the path in
their fingerprints, and are recognised by it.
"""

from collections.abc import Mapping
from typing import Any

from distill.files.read import parse_path


class LocalName(str):
    """A name that is equal for every folder; `path` is where the model is."""

    path: str

    def __new__(cls, path: str) -> "LocalName":
        name = super().__new__(cls, "a local model")
        name.path = path
        return name


def name_model(reference: str) -> str:
    """Return a model's name in fingerprints: the reference, or a `LocalName` if that is a path."""
    if reference.startswith("wheel:") or "://" in reference or not reference:
        return reference
    return LocalName(reference) if parse_path(reference).exists() else reference


def restore_paths(settings: Any) -> Any:
    """Return the settings as older fingerprints have them: paths instead of local names."""
    if isinstance(settings, LocalName):
        return settings.path
    if isinstance(settings, Mapping):
        return {key: restore_paths(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [restore_paths(value) for value in settings]
    return settings
