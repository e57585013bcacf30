"""Compare a stage's files with those that were written, and set damaged ones aside.

The figures of each shard, written before the shard itself, hold its length and checksum, and those
of the table of its dropped rows. When a stage is finished its manifest takes over those of all its
files, also of a model's, and of what the report reads in its bookkeeping. They are compared once a
process.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.files.checksums import digest_bytes, find_damage, list_files, measure_file
from distill.store.shards import list_shards, read_shard_number

DROPPED = "dropped"
"""Begins the name of a count of rows that a stage left out; the reason follows."""
FORMAT = 1
"""Of manifests; raised where an older distill could not continue a run."""
_BOOK = ".stage/"
"""The bookkeeping, as names in a stage's folder begin that lie in it."""
_LOG = logging.getLogger(__name__)
_verified: set[tuple[str, int]] = set()
"""Manifests (path, modified at in nanoseconds) whose files this process has compared."""
RecordedFiles = dict[str, dict[str, Any]]
"""By name in the stage's folder: `bytes` and `sha256`."""


class StageFiles(Protocol):
    """The properties of a stage that are read here: the places of its files and of their
    records."""

    @property
    def folder(self) -> Path:
        """Return its folder in the run."""

    @property
    def metadata_dir(self) -> Path:
        """Return the folder of its bookkeeping."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Return its manifest."""

    def list_shard_figures(self) -> list[Path]:
        """List the files of its shards' figures."""


def measure_shard(data: bytes, rows: int) -> dict[str, Any]:
    """Measure a shard: its bytes, and its rows, so that a table opens without reading every shard's
    footer."""
    return {"bytes": len(data), "sha256": digest_bytes(data), "rows": rows}


def record_files(stage: StageFiles, beside: Sequence[str] = ()) -> RecordedFiles:
    """Collect length and checksum of every file of a finished stage: of shards and their dropped
    rows as recorded when they were made, of the others from disk.

    Args:
        beside: names of files in the bookkeeping that are recorded, too.
    """
    _, of_books = _read_books(stage)
    names = [*list_files(stage.folder), *(f"{_BOOK}{name}" for name in beside)]
    recorded = {name: of_books.get(name) or measure_file(stage.folder / name) for name in names}
    dropped = {name: file for name, file in of_books.items() if name.startswith(_BOOK)}
    return recorded | dropped


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a stage's manifest.

    Raises:
        UserError: if it is torn, no JSON, of another shape, or of a newer distill.
    """
    try:
        manifest = read_json(path)
        if not isinstance(manifest["fingerprint"], str) or not isinstance(manifest["inputs"], dict):
            raise TypeError("its keys hold other things")
        manifest["complete"], manifest["settings"].keys()
        format_ = int(manifest.get("format", 1))
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise UserError(
            str(path),
            f"cannot be read as the manifest of a stage ({getattr(fault, 'what', repr(fault))})",
            f"move {path.parent.parent} out of the run and run the same command again: the stage "
            "is made again (replies of a server are kept in requests.sqlite)",
        ) from fault
    if format_ > FORMAT:
        raise UserError(
            str(path),
            f"was written by a newer distill: format {format_}, and this one reads {FORMAT}",
            "update distill, or give this run another folder with --run",
        )
    return dict(manifest)


def order_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Order what a stage counted as it is read: what came in, what was kept, other counts, and what
    was dropped, the most frequent first. A manifest has names by their letters.

    >>> order_counts({"dropped short": 2, "dropped: double": 5, "kept": 7, "read": 10, "split": 3})
    {'read': 10, 'kept': 7, 'split': 3, 'dropped: double': 5, 'dropped short': 2}
    """

    def rank(name: str) -> tuple[int, int]:
        is_dropped = name.startswith(DROPPED)
        place = 3 if is_dropped else {"read": 0, "kept": 1}.get(name, 2)
        return place, -counts[name] if is_dropped else 0

    return {name: counts[name] for name in sorted(counts, key=rank)}


def repair_stage(stage: StageFiles) -> None:
    """Compare a stage's files with what was recorded. Damaged ones are set aside in
    `.stage/damaged/`, and the stage becomes incomplete, so that what is missing is made again.

    A stage of an earlier version, of which nothing was recorded, is recorded as it stands.
    """
    path = stage.metadata_dir / "manifest.json"
    if _is_verified(path):
        return
    damage = find_stage_damage(stage)
    for name, what in damage.items():
        _LOG.warning("%s %s: it is made again", stage.folder / name, what)
        _set_aside(stage, name)
    manifest = read_manifest(path)
    if damage and manifest["complete"]:
        write_json(path, manifest | {"complete": False})
    elif manifest["complete"] and "files" not in manifest:
        write_json(path, manifest | {"files": record_files(stage)})
    note_verified(stage)


def check_stage(stage: StageFiles) -> None:
    """Refuse a stage with damaged files, for commands that read a run and make nothing.

    Raises:
        UserError: naming the first of them.
    """
    path = stage.metadata_dir / "manifest.json"
    if _is_verified(path):
        return
    for name, what in find_stage_damage(stage).items():
        raise _explain_damage(stage, name, what)
    note_verified(stage)


def check_files(stage: StageFiles, paths: Iterable[Path]) -> Iterator[Path]:
    """Yield some files of a stage, each compared with its record first: for commands that read a
    few of many files.

    Raises:
        UserError: naming the first that is damaged, or any of the stage's files that is missing.
    """
    unreadable, recorded = _read_recorded(stage, stage.manifest)
    for name in recorded:
        if not (stage.folder / name).is_file():
            raise _explain_damage(stage, name, "is missing")
    for path in paths:
        name = path.relative_to(stage.folder).as_posix()
        what = unreadable.get(name)
        if what is None and name in recorded:
            what = _compare(path, recorded[name])
        if what is not None:
            raise _explain_damage(stage, name, what)
        yield path


def find_stage_damage(stage: StageFiles) -> dict[str, str]:
    """Find the files of a stage that are missing or changed, each with what is wrong with it."""
    unreadable, recorded = _read_recorded(stage, stage.manifest)
    damage = {name: _compare(stage.folder / name, file) for name, file in recorded.items()}
    return unreadable | {name: what for name, what in damage.items() if what is not None}


def list_changed_shards(stage: StageFiles, files: RecordedFiles) -> list[str]:
    """Return whether shards were made again with other bytes than the damaged ones they replace.
    Nothing is made from what lies in the bookkeeping."""
    before = read_manifest(stage.metadata_dir / "manifest.json").get("files", {})
    before = {name: file for name, file in before.items() if not name.startswith(_BOOK)}
    return [name for name, file in files.items() if name in before and before[name] != file]


def _read_recorded(
    stage: StageFiles, manifest: dict[str, Any]
) -> tuple[dict[str, str], RecordedFiles]:
    """Read the shards whose own figures cannot be read, and what is recorded of all other files: by
    the manifest of a finished stage, and by the figures of the shards."""
    recorded: RecordedFiles = manifest.get("files", {}) if manifest["complete"] else {}
    unreadable, of_books = _read_books(stage)
    standing = {path.name for path in list_shards(stage.folder)}
    for name, file in of_books.items():
        # A stage in progress may have been stopped between a shard's figures and the shard.
        if name not in recorded and (manifest["complete"] or _parse_shard(name) in standing):
            recorded = {**recorded, name: file}
    return unreadable, recorded


def _read_books(stage: StageFiles) -> tuple[dict[str, str], RecordedFiles]:
    """Read the shards whose own figures cannot be read, and what the figures of the others hold: of
    the shard, and of its dropped rows where it has any."""
    damage: dict[str, str] = {}
    recorded: RecordedFiles = {}
    for path in stage.list_shard_figures():
        name = f"{path.stem}.parquet"
        try:
            figures = read_json(path)
            figures["rows"] + 0, figures["seconds"] + 0, figures["counts"].items()
            recorded[name] = dict(figures.get("file") or {})
            if figures.get("dropped"):
                recorded[f"{_BOOK}dropped-{name}"] = dict(figures["dropped"])
        except (UserError, KeyError, TypeError, ValueError, AttributeError):
            damage[name] = "has figures that cannot be read"
    return damage, recorded


def _compare(path: Path, recorded: dict[str, Any]) -> str | None:
    """Compare a file with its record. Of a shard made before checksums were recorded only its
    absence shows."""
    if not recorded:
        return None if path.is_file() else "is missing"
    return find_damage(path, recorded)


def _set_aside(stage: StageFiles, name: str) -> None:
    """Move a damaged file out of the table, but keep it: it may hold what an LLM was paid for.
    Dropped rows are made again with their shard, which is moved with them."""
    place = stage.metadata_dir / "damaged"
    place.mkdir(exist_ok=True)
    shard = _parse_shard(name)
    for one in {name, shard}:
        if (stage.folder / one).is_file():
            os.replace(stage.folder / one, place / one.removeprefix(_BOOK).replace("/", "-"))
    if read_shard_number(Path(shard)) >= 0:
        (stage.metadata_dir / f"{Path(shard).stem}.json").unlink(missing_ok=True)


def _parse_shard(name: str) -> str:
    """Return the shard that a file belongs to: another file for dropped rows, else the file
    itself."""
    return name.removeprefix(f"{_BOOK}dropped-")


def _explain_damage(stage: StageFiles, name: str, what: str) -> UserError:
    return UserError(
        str(stage.folder / name),
        what,
        f"`distill run RECIPE --run {stage.folder.parent}` finds and makes it again",
    )


def _is_verified(path: Path) -> bool:
    return path.is_file() and (str(path.absolute()), path.stat().st_mtime_ns) in _verified


def note_verified(stage: StageFiles) -> None:
    """Note that this process has made or compared the stage's files."""
    path = stage.metadata_dir / "manifest.json"
    _verified.add((str(path.absolute()), path.stat().st_mtime_ns))
