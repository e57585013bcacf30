"""A persistent cache of judgements: a pair that was judged once is never judged again, whichever
recipe of the run asks, and however many candidates it asks for.

Scores differ in their last digits with what is judged in the same call, so what a stage takes from
here must not depend on the order of its shards, nor on where it was killed: a shard takes what was
there before its stage was begun, and nothing that was judged since.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.files.checksums import digest_bytes
from distill.store.sqlite.shared_copy import share_rows
from distill.store.sqlite.table import FrozenTable, SqliteTable, SqlRow, SqlSchema
from distill.store.stage import Stage

Judgement = tuple[float, int]
"""A score, and the number of tokens that it is of."""


def make_judgement_key(mark: Mapping[str, object], *texts: str) -> bytes:
    """Hash what identifies a judgement: ranker, model, prompt, and the texts as the model reads
    them. Ids are no part of it: a passage that moved or was renamed is the same. Nor is the length
    to which passages are cut: one that is shorter reads the same under every such limit."""
    mark = {name: value for name, value in mark.items() if name != "max_passage_words"}
    return make_earlier_key(mark, *texts)


def make_earlier_key(mark: Mapping[str, object], *texts: str) -> bytes:
    """Hash the same as earlier versions did, under whose keys judgements are still found."""
    body = json.dumps([mark, texts], sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(body.encode(), digest_size=16).digest()


class JudgementOrigin(NamedTuple):
    """The origin of a judgement: the shard, and the turn in which its stage was begun. A turn is
    larger than those of all judgements that were there when the stage was begun."""

    turn: int
    shard: int


class JudgementCache:
    """A SQLite file of judgements. What `keep` is given is there as a whole or not at all, so that
    a shard whose process was killed is read again, or judged again, in one piece.

    Args:
        reads_only: for a process that may not open the file, which SQLite shares on one machine
            alone.

    Raises:
        UserError: if the file cannot be read or written.
    """

    def __init__(self, path: Path, reads_only: bool = False) -> None:
        self._path = path
        if not reads_only:
            self._table  # noqa: B018 (opened)

    @cached_property
    def _table(self) -> SqliteTable:
        return SqliteTable(self._path, _JUDGED)

    def begin(self, stage: Stage) -> int:
        """Read the stage's turn, which is taken when it is begun, and kept in its folder.

        Raises:
            UserError: if the file there is damaged: with another turn the stage would end with
                other judgements.
        """
        path = stage.metadata_dir / "judging.json"
        if not path.exists():
            turn = 1 + (self._table.find_largest("turn") or 0)
            write_json(path, {"turn": turn, "sha256": _digest_turn(turn)})
        stored = read_json(path)
        try:
            turn = int(stored["turn"])
            # Files of earlier versions have no checksum.
            if stored.get("sha256", _digest_turn(turn)) == _digest_turn(turn):
                return turn
        except (TypeError, ValueError, KeyError, AttributeError):
            pass
        raise UserError(
            str(path),
            "holds other bytes than were written",
            f"move {stage.folder} out of the run: the same command makes it again, and what was "
            "judged is not judged again",
        )

    @contextmanager
    def open_for_workers(self, stage: Stage, turn: int) -> Iterator["KnownJudgements"]:
        """Open what was there before the stage's turn, for whoever does its work. Workers on other
        machines read a copy, which is gone when the stage is done."""
        reads_only = stage.workers.reads_only
        table = None if reads_only else self._table
        copy = stage.metadata_dir / "judged-before.sqlite"
        earlier = f"turn IS NULL OR turn < {turn}"
        with share_rows(table, copy, stage.workers, earlier) as shared:
            yield _open_copy(shared, turn) if reads_only else KnownJudgements(table, turn, shared)

    def find(self, keys: Sequence[bytes], earlier: Sequence[bytes] = ()) -> dict[bytes, Judgement]:
        """Find all judgements that are there.

        Args:
            earlier: `make_earlier_key` of each, by which it is looked for second.
        """
        rows = _find_rows(self._table, keys, earlier)
        return {key: _read_judgement(row) for key, row in rows.items()}

    def keep(self, judged: Mapping[bytes, Judgement], place: JudgementOrigin | None = None) -> None:
        """Store judgements. One that is there stays, unless a later shard of the same turn judged
        it: the final content does not depend on the order of the shards."""
        turn, shard = (place.turn, place.shard) if place else (None, None)
        self._table.add(
            (key, score, tokens, turn, shard, _compute_checksum(key, score, tokens))
            for key, (score, tokens) in judged.items()
        )

    def close(self) -> None:
        """Close the file, if it was opened."""
        if "_table" in vars(self):
            self._table.close()


class KnownJudgements:
    """The judgements that were made before a stage was begun.

    Args:
        table: None where there is nothing.
        copy: a file with the same rows, which a worker that this is sent to opens; None for none.
    """

    def __init__(
        self, table: SqliteTable | FrozenTable | None, turn: int, copy: Path | None = None
    ) -> None:
        self._table = table
        self._turn = turn
        self._copy = copy

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_copy, (self._copy, self._turn)

    def find(self, keys: Sequence[bytes], earlier: Sequence[bytes] = ()) -> dict[bytes, Judgement]:
        """Find judgements that were there before the stage was begun.

        Args:
            earlier: `make_earlier_key` of each, by which it is looked for second.
        """
        rows = {} if self._table is None else _find_rows(self._table, keys, earlier)
        return {
            key: _read_judgement(row) for key, row in rows.items() if (row[3] or 0) < self._turn
        }


def _open_copy(copy: Path | None, turn: int) -> KnownJudgements:
    return KnownJudgements(None if copy is None else FrozenTable(copy, _JUDGED), turn, copy)


def _find_rows(
    table: SqliteTable | FrozenTable, keys: Sequence[bytes], earlier: Sequence[bytes]
) -> dict[bytes, SqlRow]:
    rows = table.find(keys)
    unknown = {old: key for key, old in zip(keys, earlier, strict=False) if key not in rows}
    return rows | {unknown[old]: row for old, row in table.find(list(unknown)).items()}


def _digest_turn(turn: int) -> str:
    return digest_bytes(str(turn).encode())


def _read_judgement(row: SqlRow) -> Judgement:
    return float(row[1]), int(row[2])


def _is_whole(row: SqlRow) -> bool:
    """Return whether a row has its checksum; older rows have none."""
    key, score, tokens, *_, checksum = row
    if not isinstance(score, int | float) or not isinstance(tokens, int):
        return False
    if not math.isfinite(score):
        return False
    return checksum is None or checksum == _compute_checksum(key, score, tokens)


def _compute_checksum(key: bytes, score: float, tokens: int) -> bytes:
    body = key + struct.pack(">dq", score, tokens)
    return hashlib.blake2b(body, digest_size=8).digest()


_JUDGED = SqlSchema(
    holds="judgements",
    again="judged",
    table="judged",
    create="CREATE TABLE IF NOT EXISTS judged (key BLOB PRIMARY KEY, score REAL NOT NULL, "
    "tokens INTEGER NOT NULL) WITHOUT ROWID",
    columns=("key", "score", "tokens", "turn", "shard", "checksum"),
    is_whole=_is_whole,
    on_conflict="DO UPDATE SET score = excluded.score, tokens = excluded.tokens, "
    "shard = excluded.shard, checksum = excluded.checksum "
    "WHERE judged.turn = excluded.turn AND excluded.shard < judged.shard",
)
