"""An SQLite file of rows by key, of which each has a checksum: what is damaged is never used, and
never thrown away.

A row that is not what was written is as if it were not there. A file that SQLite cannot read any
more is moved aside, and what can be read of it is written into a new one.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from distill.errors import UserError
from distill.files.atomic import explain_os_error, make_full_disk_error
from distill.store.sqlite.salvage import salvage_records
from distill.workers.node_copy import fetch_if_copied

SqlRow = tuple[Any, ...]
T = TypeVar("T")

_KEYS_A_SELECT = 500
_SECONDS_LOCKED = 60.0
_SECONDS_BETWEEN_SWITCHES = 0.01
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SHARED_MEMORY = 64 * 1024
"""Bytes of the file beside a database through which its processes know each other's writes."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SqlSchema:
    """A table of an SQLite file, of which the first column is the key.

    Args:
        holds: what its rows are, such as "judgements".
        again: what is done to those that are lost, such as "judged".
        create: the statement that makes the table, if it is not there, as it first was.
        columns: all columns in order; those that `create` has not are added, and null in old rows.
        is_whole: whether a row, of all columns, is what was written.
    """

    holds: str
    again: str
    table: str
    create: str
    columns: Sequence[str]
    is_whole: Callable[[SqlRow], bool]
    on_conflict: str = "DO NOTHING"


class SqliteTable:
    """Rows by key in a file that several processes may use at once, readable by its owner alone.

    Raises:
        UserError: if the file cannot be read or written; not if it is damaged.
    """

    def __init__(self, path: Path, schema: SqlSchema) -> None:
        self.path = path
        self.schema = schema
        try:
            self._db = self._connect()
        except (OSError, sqlite3.Error) as fault:
            self._db = self._repair(fault)

    def find(self, keys: Iterable[bytes]) -> dict[bytes, SqlRow]:
        """Find the undamaged rows of these keys. Damaged ones are removed with a warning."""
        wanted = list(dict.fromkeys(keys))
        rows = self._use(lambda db: _select(db, self.schema, wanted))
        damaged = [key for key, row in rows.items() if not self.schema.is_whole(row)]
        if damaged:
            marks = [(key,) for key in damaged]
            delete = f"DELETE FROM {self.schema.table} WHERE key = ?"
            self._use(lambda db: _write(db, delete, marks))
            _log.warning(
                "%s: %d of its %s are damaged; they are %s again",
                self.path,
                len(damaged),
                self.schema.holds,
                self.schema.again,
            )
        return {key: row for key, row in rows.items() if key not in set(damaged)}

    def add(self, rows: Iterable[SqlRow]) -> None:
        """Add rows of all columns, all or none. If a key is there already, the schema's
        `on_conflict` decides."""
        several = list(rows)
        self._use(lambda db: _write(db, self._insert(), several))

    def find_largest(self, column: str) -> int | None:
        """Return the largest value of a column; None in an empty table."""
        ask = f"SELECT max({column}) FROM {self.schema.table}"
        value: int | None = self._use(lambda db: db.execute(ask).fetchone()[0])
        return value

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def copy_rows(self, path: Path, condition: str) -> int:
        """Write the rows of a condition into a new file of their own, for readers on other
        machines, where SQLite's log of writes does not work (see `FrozenTable`). Returns how many
        there are."""
        path.unlink(missing_ok=True)
        make_private(path)
        db = sqlite3.connect(path, isolation_level=None)
        columns = ", ".join(self.schema.columns)
        try:
            db.execute(self.schema.create)
            self._add_columns(db)
            select = f"SELECT {columns} FROM {self.schema.table} WHERE {condition}"
            _write(db, self._insert(), self._db.execute(select))
            count: int = db.execute(f"SELECT count(*) FROM {self.schema.table}").fetchone()[0]
        except (OSError, sqlite3.Error) as fault:
            raise self._explain(fault) from fault
        finally:
            db.close()
        return count

    def _insert(self) -> str:
        columns, marks = ", ".join(self.schema.columns), ",".join("?" * len(self.schema.columns))
        return (
            f"INSERT INTO {self.schema.table} ({columns}) VALUES ({marks}) "
            f"ON CONFLICT (key) {self.schema.on_conflict}"
        )

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Use the file; if it turns out damaged, repair it and try once more."""
        try:
            return work(self._db)
        except (OSError, sqlite3.Error) as fault:
            self._db.close()
            self._db = self._repair(fault)
        try:
            return work(self._db)
        except (OSError, sqlite3.Error) as fault:
            raise self._explain(fault) from fault

    def _connect(self, path: Path | None = None) -> sqlite3.Connection:
        path = path or self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        make_private(path)
        # Answers of a server arrive in threads of their own, one at a time.
        db = sqlite3.connect(
            path, timeout=_SECONDS_LOCKED, isolation_level=None, check_same_thread=False
        )
        try:
            db.text_factory = _decode
            _switch_to_write_ahead_log(db)
            db.execute("PRAGMA synchronous = NORMAL")
            damage = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise _Damaged(damage.splitlines()[-1])
            db.execute(self.schema.create)
            self._add_columns(db)
        except BaseException:
            db.close()
            raise
        return db

    def _add_columns(self, db: sqlite3.Connection) -> None:
        there = {row[1] for row in db.execute(f"PRAGMA table_info({self.schema.table})")}
        if self.schema.columns[0] not in there:
            raise sqlite3.OperationalError(f"its table {self.schema.table} is of something else")
        for column in self.schema.columns:
            if column not in there:
                with _ignore_added_column():
                    db.execute(f"ALTER TABLE {self.schema.table} ADD COLUMN {column}")

    def _repair(self, fault: Exception) -> sqlite3.Connection:
        """Put a new file with the whole rows of a damaged one in its place, and open it.

        Raises:
            UserError: if the fault is not one of a damaged file.
        """
        if not _is_damage(fault):
            raise self._explain(fault) from fault
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            with contextlib.suppress(sqlite3.Error):
                return self._connect()  # another process has repaired it
            try:
                aside, rows = self._move_aside()
            except (OSError, sqlite3.Error) as trouble:
                raise self._explain(trouble) from trouble
        _log.warning(
            "%s is damaged (%s): it was moved to %s, and %d %s were read out of it; what is lost "
            "is %s again",
            self.path,
            fault,
            aside.name,
            rows,
            self.schema.holds,
            self.schema.again,
        )
        return self._connect()

    def _move_aside(self) -> tuple[Path, int]:
        """Move the damaged file aside; returns its new name and the number of rows saved into its
        replacement."""
        # Not `atomic_file`: between writing and renaming, the damaged file gets another name.
        fresh = self.path.with_name(f".{self.path.name}.part")
        fresh.unlink(missing_ok=True)
        db = self._connect(fresh)
        _write(db, self._insert(), self._salvage())
        rows = int(db.execute(f"SELECT count(*) FROM {self.schema.table}").fetchone()[0])
        db.execute("PRAGMA journal_mode = DELETE")  # one file, which can be renamed
        db.close()
        aside = _find_free_name(self.path)
        os.link(self.path, aside)
        log = self.path.with_name(f"{self.path.name}-wal")
        if log.exists():
            os.replace(log, aside.with_name(f"{aside.name}-wal"))
        self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)
        os.replace(fresh, self.path)
        return aside, rows

    def _salvage(self) -> Iterator[SqlRow]:
        """Collect the undamaged rows that are left; older ones have fewer columns."""
        width = len(self.schema.columns)
        for record in salvage_records(self.path):
            row = (*record, *[None] * (width - len(record)))
            if len(row) == width and isinstance(row[0], bytes) and self.schema.is_whole(row):
                yield row

    def _is_disk_full(self) -> bool:
        """Return whether there is no room even for SQLite's shared memory, which it reports as an
        I/O error."""
        return shutil.disk_usage(self.path.parent).free < _SHARED_MEMORY

    def _explain(self, fault: Exception) -> UserError:
        code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._is_disk_full()):
            return make_full_disk_error(self.path)
        if isinstance(fault, OSError):
            return explain_os_error(fault, self.path)
        return UserError(
            str(self.path),
            f"cannot be used to keep {self.schema.holds} ({fault})",
            "make it and its folder writable and make room on its disk, and the same command "
            "continues; if it is no file of distill's, move it away",
        )


class FrozenTable:
    """A copy of rows that nobody writes to any more (see `SqliteTable.copy_rows`)."""

    def __init__(self, path: Path, schema: SqlSchema) -> None:
        self.schema = schema
        fetch_if_copied(path)
        self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        self._db.text_factory = _decode

    def find(self, keys: Iterable[bytes]) -> dict[bytes, SqlRow]:
        """Find the undamaged rows of these keys."""
        rows = _select(self._db, self.schema, list(dict.fromkeys(keys)))
        return {key: row for key, row in rows.items() if self.schema.is_whole(row)}


def _select(
    db: sqlite3.Connection, schema: SqlSchema, wanted: Sequence[bytes]
) -> dict[bytes, SqlRow]:
    rows_by_key: dict[bytes, SqlRow] = {}
    for start in range(0, len(wanted), _KEYS_A_SELECT):
        some = wanted[start : start + _KEYS_A_SELECT]
        columns, marks = ", ".join(schema.columns), ",".join("?" * len(some))
        rows = db.execute(f"SELECT {columns} FROM {schema.table} WHERE key IN ({marks})", some)
        rows_by_key.update({row[0]: row for row in rows})
    return rows_by_key


def make_private(path: Path) -> None:
    """Make a file that only its owner can read, if it is not there: what LLMs wrote may be about
    private texts."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
    if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
        path.chmod(0o600)


class _Damaged(sqlite3.DatabaseError):
    """SQLite's own check has found damage."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def _is_damage(fault: Exception) -> bool:
    return getattr(fault, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _switch_to_write_ahead_log(db: sqlite3.Connection) -> None:
    """Switch a file to a write-ahead log, which lets one process write while others read.

    While another process writes into a file that has none yet, as one that makes its table does,
    SQLite refuses the switch at once, whatever the connection's timeout is.
    """
    last = time.monotonic() + _SECONDS_LOCKED
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as fault:
            busy = getattr(fault, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > last:
                raise
        time.sleep(_SECONDS_BETWEEN_SWITCHES)


def _write(db: sqlite3.Connection, statement: str, rows: Iterable[SqlRow]) -> None:
    """Write all rows or none."""
    db.execute("BEGIN IMMEDIATE")
    try:
        db.executemany(statement, rows)
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # the first fault is the one to tell
            db.execute("ROLLBACK")
        raise


def _decode(text: bytes) -> str:
    """Decode a text. A flipped bit may make UTF-8 invalid; the row's checksum then shows it."""
    return text.decode("utf-8", "replace")


def _find_free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside


@contextlib.contextmanager
def _ignore_added_column() -> Iterator[None]:
    """Pass over a column that another process has added at the same moment."""
    try:
        yield
    except sqlite3.OperationalError as fault:
        if "duplicate column" not in str(fault):
            raise
