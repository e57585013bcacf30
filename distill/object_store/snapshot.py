"""Copies of SQLite files that are being written: consistent ones, by SQLite's own backup."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from distill.errors import UserError


def measure_state(path: Path) -> tuple[int, ...]:
    """Measure a file and its log of writes: equal as long as nothing was written."""
    both = (path, path.with_name(f"{path.name}-wal"))
    stats = [file.stat() for file in both if file.exists()]
    return tuple(value for stat in stats for value in (stat.st_size, stat.st_mtime_ns))


def take_snapshot(path: Path, target: Path) -> bool:
    """Write a consistent copy, readable by its owner alone. False where the file cannot be read
    now, such as a damaged one, which its own users find and repair."""
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(sqlite3.connect(path, timeout=60)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    except sqlite3.DatabaseError:
        target.unlink(missing_ok=True)
        return False
    return True


def merge_rows(path: Path, other: Path) -> None:
    """Add the rows of another copy of a file that are missing in it, table by table. Rows that are
    there stay.

    Raises:
        UserError: if one of the files cannot be read.
    """
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    try:
        db.execute("ATTACH ? AS other", (str(other),))
        select = "SELECT name FROM {}.sqlite_master WHERE type = 'table'"
        here = {name for (name,) in db.execute(select.format("main"))}
        for (name,) in db.execute(select.format("other")).fetchall():
            if name in here:
                both = _list_columns(db, "main", name) & _list_columns(db, "other", name)
                columns = ", ".join(sorted(both))
                db.execute(
                    f"INSERT OR IGNORE INTO main.{name} ({columns}) "
                    f"SELECT {columns} FROM other.{name}"
                )
    except sqlite3.DatabaseError as fault:
        raise UserError(
            str(path),
            f"cannot take over the rows of the store's copy, {other} ({fault})",
            "move the damaged one of the two away: the same command continues",
        ) from fault
    finally:
        db.close()


def _list_columns(db: sqlite3.Connection, schema: str, table: str) -> set[str]:
    return {f'"{row[1]}"' for row in db.execute(f'PRAGMA {schema}.table_info("{table}")')}
