"""Find a corpus on this machine, or copy it from an object store."""

from pathlib import Path

from distill.files.read import parse_path
from distill.models.sources.cache import get_cache_folder
from distill.object_store.address import is_store_address


def find_input(path: str) -> Path:
    """Return a path of this machine; what lies in an object store is copied into the cache first.

    Raises:
        UserError: if it is no path, or the store cannot be read.
    """
    if not is_store_address(path):
        return parse_path(path)
    from distill.object_store.download import fetch_input

    return fetch_input(path, get_cache_folder() / "inputs")
