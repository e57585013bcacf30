"""A run's folder: one sub-folder a stage, each with a fingerprint, shards that commit atomically,
and a manifest. Killed at any moment, the same command continues and ends with the same bytes."""

import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from filelock import FileLock, Timeout

from distill.errors import UserError
from distill.files.atomic import explain_os_error, open_atomic_folder, write_json
from distill.object_store.no_mirror import NO_MIRROR, Mirror
from distill.runtime.machine import describe_machine
from distill.runtime.processes import is_main
from distill.runtime.versions import read_versions
from distill.store.changes import describe_changes
from distill.store.integrity import FORMAT, read_manifest, repair_stage
from distill.store.local_name import restore_paths
from distill.store.stage import Stage, fingerprint
from distill.workers.local import LOCAL
from distill.workers.protocol import Workers
from distill.workers.share_files import check_no_shares
from distill.workers.shares import SharesPause, describe_unopened

_logger = logging.getLogger(__name__)
Overwrite = Literal["never", "stale", "always"]
T = TypeVar("T")


class Run:
    """A run's folder, locked against a second writer while open.

    Raises:
        UserError: on entry if another process holds the folder; from `stage` if the folder was
            written under another fingerprint and `overwrite` is "never".

    Args:
        workers: who does the stages' work.
    """

    def __init__(
        self, folder: Path, overwrite: Overwrite = "never", workers: Workers = LOCAL
    ) -> None:
        self.folder = folder
        self.workers = workers
        self.mirror: Mirror = NO_MIRROR
        """The run's copy in an object store."""
        self._own_workers: Workers | None = None
        # Of several processes the first one makes the stages, and the others then read them.
        self._first = is_main() and not workers.reads_only
        self.overwrite: Overwrite = overwrite if self._first else "never"
        self._lock = FileLock(folder / ".lock")
        self._begun: set[str] = set()

    def __enter__(self) -> "Run":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._first:
                return self
            self._lock.acquire(timeout=0)
            check_no_shares(self.folder)
        except UserError:
            self._lock.release()
            raise
        except Timeout:
            raise UserError(
                str(self.folder),
                "another process is writing this run",
                "wait for it to end, or give this run another folder with --run",
            ) from None
        except OSError as fault:
            raise explain_os_error(fault, self.folder) from fault
        for stray in self.folder.rglob(".*.part"):
            if stray.is_file():
                stray.unlink()
        return self

    def use_workers(self, workers: Workers) -> None:
        """Have these workers do the stages' work, and let them go when the run is closed."""
        self.workers = self._own_workers = workers

    def __exit__(self, *_: object) -> None:
        try:
            if self._own_workers is not None:
                self._own_workers.close()
        finally:
            self._lock.release()

    def open_stage(
        self,
        name: str,
        settings: Mapping[str, Any],
        inputs: Iterable[Stage] = (),
        replaces: bool = False,
    ) -> Stage:
        """Open a stage: continue it where its fingerprint is the same, else begin it again.

        What stands under another fingerprint is moved to `superseded/`, never deleted, and comes
        back from there when its settings do.

        Args:
            replaces: whether a stage under another fingerprint is replaced, and that is said, even
                where `overwrite` is "never": for one that costs little and nothing is made from.
        """
        input_fingerprints = {stage.name: stage.fingerprint for stage in inputs}
        stage, current = self._resolve(name, settings, input_fingerprints)
        rerun = self._must_rerun(name)
        if current == stage.fingerprint and not rerun:
            self._take_over(stage)
            return stage
        if self.workers.reads_only and current is None:
            raise SharesPause(describe_unopened(name))
        if current is not None:
            if (replaces or self.overwrite == "stale") and self._first:
                changes = _describe(stage, settings, input_fingerprints)
                _logger.info("%s is made again; changed: %s", stage.folder, changes)
            elif self.overwrite == "never":
                _refuse(stage, settings, input_fingerprints)
            self._supersede(stage, current)
        self._begun.add(name)
        superseded = self._make_superseded_path(name, stage.fingerprint)
        if superseded.exists() and not rerun:
            self.mirror.move(superseded, stage.folder)
            os.replace(superseded, stage.folder)
            self._take_over(stage)
            return stage
        self._begin(stage, settings, input_fingerprints)
        return stage

    def open_prepared(
        self,
        name: str,
        settings: Mapping[str, Any],
        inputs: Sequence[Stage],
        prepare: Callable[[], T],
    ) -> tuple[Stage, T | None]:
        """Return the stage, and what it is made of unless it is complete. That is prepared before
        the stage is begun, so that bad input leaves the folder as it was and can be fixed without
        --overwrite; the stage's seconds are those of its preparation, too."""
        begun = time.perf_counter()
        content = None if self.is_complete(name, settings, inputs) else prepare()
        stage = self.open_stage(name, settings, inputs)
        if stage.complete:
            return stage, None
        content = prepare() if content is None else content
        return dataclasses.replace(stage, prepared=time.perf_counter() - begun), content

    def find_stage(
        self, name: str, settings: Mapping[str, Any], inputs: Iterable[Stage] = ()
    ) -> Stage | None:
        """Return the stage as it is in the folder, begun or complete; None if there is none, or one
        under another fingerprint. Nothing is changed and no file is compared."""
        stage, current = self._resolve(name, settings, {of.name: of.fingerprint for of in inputs})
        if current != stage.fingerprint:
            return None
        if self._first:
            self.mirror.take_over(stage.folder)
        return stage

    def find_complete_but_for(
        self,
        name: str,
        settings: Mapping[str, Any],
        inputs: Iterable[Stage],
        keys: Collection[str],
        other_inputs: Collection[str] = (),
    ) -> Stage | None:
        """Find the complete stage that stands in the folder and was made of the same inputs, with
        the same settings but for some `keys`; None where there is none.

        Args:
            other_inputs: names of stages that it may also be made of, in whatever state.
        """
        path = self.folder / name / ".stage" / "manifest.json"
        if not path.exists() or self._must_rerun(name):
            return None
        manifest = read_manifest(path)
        before = {key: value for key, value in manifest["settings"].items() if key not in keys}
        after = {key: value for key, value in settings.items() if key not in keys}
        forms = [json.loads(json.dumps(form)) for form in (after, restore_paths(after))]
        made_of = {k: v for k, v in manifest["inputs"].items() if k not in other_inputs}
        same_inputs = made_of == {of.name: of.fingerprint for of in inputs}
        if before not in forms or not same_inputs:
            return None
        stage = self._open(name, str(manifest["fingerprint"]))
        self._take_over(stage)
        return stage if stage.complete else None

    def is_complete(
        self, name: str, settings: Mapping[str, Any], inputs: Iterable[Stage] = ()
    ) -> bool:
        """Return whether `stage` would find the stage complete, unless its files turn out
        damaged."""
        stage = self.find_stage(name, settings, inputs)
        return stage is not None and stage.complete and not self._must_rerun(name)

    def _must_rerun(self, name: str) -> bool:
        return self.overwrite == "always" and name not in self._begun

    def _resolve(
        self, name: str, settings: Mapping[str, Any], input_fingerprints: Mapping[str, str]
    ) -> tuple[Stage, str | None]:
        """Return the stage under its fingerprint, and the fingerprint of what is in its folder:
        empty for files without a manifest, None for no files. Earlier runs have paths in their
        fingerprints, and keep them."""
        folder = self.folder / name
        current = _read_fingerprint(folder)
        former = fingerprint(name, restore_paths(settings), input_fingerprints)
        if current == former:
            return self._open(name, former), current
        mark = fingerprint(name, settings, input_fingerprints)
        return self._open(name, mark), current

    def _open(self, name: str, mark: str) -> Stage:
        return Stage(name, self.folder / name, mark, self.workers, self.mirror)

    def _take_over(self, stage: Stage) -> None:
        """Continue a stage that stands: fetch what only the store has of it, and set aside what is
        damaged."""
        if not self._first:
            return
        self.mirror.take_over(stage.folder)
        repair_stage(stage)
        if stage.complete:
            self.mirror.finish(stage.folder)

    def _make_superseded_path(self, name: str, stage_fingerprint: str) -> Path:
        return self.folder / "superseded" / f"{name}-{stage_fingerprint or 'unmarked'}"

    def _supersede(self, stage: Stage, current: str) -> None:
        target = self._make_superseded_path(stage.name, current)
        while target.exists():
            target = target.with_name(target.name + "-again")
        target.parent.mkdir(exist_ok=True)
        self.mirror.move(stage.folder, target)
        os.replace(stage.folder, target)

    def _begin(
        self, stage: Stage, settings: Mapping[str, Any], input_fingerprints: Mapping[str, str]
    ) -> None:
        manifest = {
            "format": FORMAT,
            "stage": stage.name,
            "fingerprint": stage.fingerprint,
            "settings": settings,
            "inputs": input_fingerprints,
            "versions": read_versions(),
            "machine": describe_machine(),
            "complete": False,
        }
        with open_atomic_folder(stage.folder) as beside:  # never stands without a manifest
            (beside / ".stage").mkdir()
            write_json(beside / ".stage" / "manifest.json", manifest)
        self.mirror.begin(stage.folder)


def _read_fingerprint(folder: Path) -> str | None:
    path = folder / ".stage" / "manifest.json"
    if not path.exists():
        return "" if folder.exists() and any(folder.iterdir()) else None
    return str(read_manifest(path)["fingerprint"])


def _refuse(
    stage: Stage, settings: Mapping[str, Any], input_fingerprints: Mapping[str, str]
) -> None:
    changes = _describe(stage, settings, input_fingerprints)
    raise UserError(
        str(stage.folder),
        f"was made with other settings or inputs; changed: {changes}",
        "--overwrite stale redoes it and what depends on it (the old is kept in "
        "superseded/), or give this run another folder with --run",
    )


def _describe(
    stage: Stage, settings: Mapping[str, Any], input_fingerprints: Mapping[str, str]
) -> str:
    path = stage.metadata_dir / "manifest.json"
    before = read_manifest(path) if path.exists() else {"settings": {}, "inputs": {}}
    return describe_changes(stage.name, before, settings, input_fingerprints) or "unknown"
