"""What was judged, kept for good: a pair that was judged once is never judged again, whichever
recipe of the run asks, and however many candidates it asks for."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.errors import UserError

Judgement = tuple[float, int]
"""A score, and the number of tokens that it is of."""

_KEYS_A_SELECT = 500
_SECONDS_LOCKED = 60.0


def judgement_key(mark: Mapping[str, object], *texts: str) -> bytes:
    """What identifies a judgement: ranker, model, prompt, and the texts as the model reads them.
    Ids are no part of it: a passage that moved or was renamed is the same."""
    body = json.dumps([mark, texts], sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(body.encode(), digest_size=16).digest()


class JudgedPairs:
    """A SQLite file of judgements. What `keep` is given is there as a whole or not at all, so that
    a shard whose process was killed is read again, or judged again, in one piece.

    Raises:
        UserError: if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_SECONDS_LOCKED)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS judged (key BLOB PRIMARY KEY, score REAL NOT NULL, "
                "tokens INTEGER NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as fault:
            raise self._fault(fault) from None

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Judgement]:
        found: dict[bytes, Judgement] = {}
        try:
            for start in range(0, len(keys), _KEYS_A_SELECT):
                some = keys[start : start + _KEYS_A_SELECT]
                marks = ",".join("?" * len(some))
                rows = self._db.execute(
                    f"SELECT key, score, tokens FROM judged WHERE key IN ({marks})", some
                )
                found.update({key: (score, tokens) for key, score, tokens in rows})
        except sqlite3.Error as fault:
            raise self._fault(fault) from None
        return found

    def keep(self, judged: Mapping[bytes, Judgement]) -> None:
        try:
            with self._db:
                self._db.executemany(
                    "INSERT OR IGNORE INTO judged VALUES (?, ?, ?)",
                    [(key, score, tokens) for key, (score, tokens) in judged.items()],
                )
        except sqlite3.Error as fault:
            raise self._fault(fault) from None

    def close(self) -> None:
        self._db.close()

    def _fault(self, fault: Exception) -> UserError:
        return UserError(
            str(self._path),
            f"cannot be used to keep judgements ({fault})",
            "make it writable and make room on its disk; if it is damaged, move it away: what it "
            "holds is judged again",
        )
