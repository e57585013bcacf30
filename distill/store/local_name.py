"""What a fingerprint says of a model in a folder: not where the folder is.

Its content, which stands beside it as `revision`, decides what a stage makes; its path does not,
and a run that was moved, copied or named relatively must continue. Runs of before have the path in
their fingerprints, and are recognised by it.
"""

from collections.abc import Mapping
from typing import Any

from distill.files.read import user_path


class LocalName(str):
    """The same word for every folder; `path` is where it is."""

    path: str

    def __new__(cls, path: str) -> "LocalName":
        name = super().__new__(cls, "a local model")
        name.path = path
        return name


def name_model(reference: str) -> str:
    """A model's name in fingerprints: the reference, or a `LocalName` where that is a path."""
    if reference.startswith("wheel:") or "://" in reference or not reference:
        return reference
    return LocalName(reference) if user_path(reference).exists() else reference


def with_paths(settings: Any) -> Any:
    """The settings as fingerprints of before had them: paths in the place of local names."""
    if isinstance(settings, LocalName):
        return settings.path
    if isinstance(settings, Mapping):
        return {key: with_paths(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [with_paths(value) for value in settings]
    return settings
