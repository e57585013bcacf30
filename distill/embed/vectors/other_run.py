"""Vectors that another run has computed already: they are copied instead of computing them
again. A store's name says what it holds, so one of the same name in another run has the same
vectors."""

import logging
import shutil
from pathlib import Path

from distill.errors import UserError
from distill.files.atomic import open_atomic_folder, read_json, write_json

_LOG = logging.getLogger(__name__)
_NOTE = "other_run.json"


def take_vectors_from(root: Path, other: str | None) -> None:
    """Note, beside the vectors of a run, the run whose vectors may be copied.

    Args:
        root: the folder of the run's vectors.
        other: the other run's folder; None: vectors are copied from nowhere.

    Raises:
        UserError: if the other folder has no vectors of a run.
    """
    note = root / _NOTE
    if other is None:
        note.unlink(missing_ok=True)
        return
    vectors = Path(other) / root.name
    if not vectors.is_dir():
        if note.is_file():  # it was there when this run was begun, and what it had is here
            return
        raise UserError(
            f"retriever.vectors_from {other}",
            "is no folder of a run that has computed vectors",
            "name the folder of a run, such as artifacts/NAME, or leave the key out",
        )
    root.mkdir(parents=True, exist_ok=True)
    write_json(note, {"vectors": str(vectors.resolve())})


def find_in_other_run(folder: Path) -> Path | None:
    """Find the store of the same name in the run that was noted, if there is one."""
    note = folder.parent / _NOTE
    if not note.is_file():
        return None
    found = Path(str(read_json(note)["vectors"])) / folder.name
    return found if found.is_dir() and found.resolve() != folder.resolve() else None


def copy_from_other_run(found: Path, folder: Path) -> None:
    """Copy a complete store of another run to a folder that is not there yet."""
    with open_atomic_folder(folder) as beside:
        for path in found.iterdir():
            if path.is_file() and not path.name.startswith("."):
                shutil.copyfile(path, beside / path.name)
    _LOG.info("%s: the vectors are copied from %s", folder, found)
