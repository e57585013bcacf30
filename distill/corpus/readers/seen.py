"""The ids of a corpus' documents so far, on disk where they are many."""

import sqlite3
from typing import NamedTuple

_CACHE_KIB = 64 * 1024
"""So much of the table is in memory; beyond it SQLite writes to its temporary file."""


class SeenDocument(NamedTuple):
    """A digest of a document's text, and the file and row that it was in."""

    digest: bytes
    file: str
    row: int


class SeenIds:
    """The documents that were seen, by id, in a private file that goes with the object."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.execute(
            "CREATE TABLE seen (id TEXT PRIMARY KEY, digest BLOB, file INTEGER, row INTEGER) "
            "WITHOUT ROWID"
        )
        self._db.execute("BEGIN")
        self._files: dict[str, int] = {}

    def add(self, id_: str, digest: bytes, file: str, row: int) -> SeenDocument | None:
        """Add a document; if its id was seen, return the first one of that id, and add nothing."""
        number = self._files.setdefault(file, len(self._files))
        values = (id_, digest, number, row)
        added = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", values)
        if added.rowcount:
            return None
        query = "SELECT digest, file, row FROM seen WHERE id = ?"
        first, of_file, of_row = self._db.execute(query, (id_,)).fetchone()
        return SeenDocument(first, list(self._files)[of_file], of_row)
