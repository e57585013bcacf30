"""Store every reply of a server by the hash of its request: nothing is paid for twice."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distill.store.sqlite.table import SqliteTable, SqlRow, SqlSchema


def make_request_key(path: str, body: dict[str, Any], mark: Any = None) -> bytes:
    """Hash what identifies a reply: endpoint, model, prompt, sampling and seed, and with `mark` the
    purpose. The server's address and the key are no part of it, so that a run may move to another
    server of the same model."""
    return hashlib.sha256(json.dumps([path, body, mark], sort_keys=True).encode()).digest()


class RequestCache:
    """A SQLite file of replies. Several processes may use it at once; a reply is safe from a crash
    of the process as soon as `keep` returns (the last ones may be lost if the power fails). A reply
    that is damaged is as if it had never come.

    Raises:
        UserError: if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table = SqliteTable(path, _REPLIES)

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Any]:
        """Find the stored replies of these keys."""
        return {key: json.loads(row[1]) for key, row in self._table.find(keys).items()}

    def keep(self, key: bytes, reply: Any) -> None:
        """Keep a reply (of JSON's types). The first one for a key stays."""
        text = json.dumps(reply)
        self._table.add([(key, text, _compute_checksum(key, text))])

    def close(self) -> None:
        """Close the file."""
        self._table.close()


def _is_whole(row: SqlRow) -> bool:
    """Return whether a row has its checksum; older rows have none."""
    key, text, checksum = row
    if not isinstance(text, str) or (
        checksum is not None and checksum != _compute_checksum(key, text)
    ):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _compute_checksum(key: bytes, text: str) -> bytes:
    return hashlib.blake2b(key + text.encode("utf-8", "replace"), digest_size=8).digest()


_REPLIES = SqlSchema(
    holds="replies",
    again="asked for",
    table="replies",
    create="CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, reply TEXT NOT NULL)",
    columns=("key", "reply", "checksum"),
    is_whole=_is_whole,
)
