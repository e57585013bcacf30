"""Every reply of a server, kept by the hash of what was asked: nothing is paid for twice."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distill.errors import UserError

_KEYS_A_SELECT = 500
_SECONDS_LOCKED = 60.0


def request_key(path: str, body: dict[str, Any], mark: Any = None) -> bytes:
    """What identifies a reply: endpoint, model, prompt, sampling and seed, and with `mark` what it
    was read for. The server's address and the key are no part of it, so that a run may move to
    another server of the same model."""
    return hashlib.sha256(json.dumps([path, body, mark], sort_keys=True).encode()).digest()


class RequestCache:
    """A SQLite file of replies. Several processes may use it at once; a reply is safe from a crash
    of the process as soon as `keep` returns (the last ones may be lost if the power fails).

    Raises:
        UserError: if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=_SECONDS_LOCKED, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, reply TEXT NOT NULL)"
            )
        except (OSError, sqlite3.Error) as fault:
            raise UserError(
                str(path),
                f"cannot be used to keep a server's replies ({fault})",
                "make its folder writable; if the file is damaged, move it away: what it holds "
                "is asked, and paid for, again",
            ) from None

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Any]:
        """The replies that are kept of these keys."""
        wanted = list(dict.fromkeys(keys))
        found = {}
        for start in range(0, len(wanted), _KEYS_A_SELECT):
            some = wanted[start : start + _KEYS_A_SELECT]
            marks = ",".join("?" * len(some))
            rows = self._db.execute(f"SELECT key, reply FROM replies WHERE key IN ({marks})", some)
            found.update({key: json.loads(reply) for key, reply in rows})
        return found

    def keep(self, key: bytes, reply: Any) -> None:
        """Keep a reply (of JSON's types). The first one for a key stays."""
        try:
            self._db.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, json.dumps(reply))
            )
        except sqlite3.Error as fault:
            raise UserError(
                str(self.path),
                f"a reply could not be kept ({fault})",
                "make room on its disk, or make it writable; the same command continues",
            ) from None

    def close(self) -> None:
        self._db.close()
