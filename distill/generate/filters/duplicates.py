"""Exact and near-duplicate queries, with memory that does not grow with their number.

What was kept so far lies in an SQLite file: a hash of each query's words, and for near-duplicates
the bands of its MinHash signature (Broder 1997; banding: Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, section 3.4), which only propose: the Jaccard similarity of what they propose is
computed.

Every entry carries the ordinal of its owner, and a query is a duplicate only of an owner that comes
before it. So a shard that is done again, after a kill or a retry, is not its own duplicate.
"""

import hashlib
import sqlite3
import zlib
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from datasketch import MinHash

from distill.text.normalize import split_comparable_words
from distill.text.words import is_syllable

PERMUTATIONS = 128
_SHINGLE = 3
"""Characters. Queries are short: of longer shingles one changed word would touch most."""
_PROPOSALS = 64
"""Largest number of queries to compare: those that share the most bands with the query. Queries of
one mould are proposed by the thousand, but share few bands."""
_MIN_RECALL = 0.99
"""The least probability with which a pair at the threshold shares a band."""
_SHARD = 1 << 32
_CACHE_KIB = 16_384
_EMPTY = MinHash(PERMUTATIONS, hashfunc=zlib.crc32)


def make_ordinal(shard: int, place: int) -> int:
    """Make the place of a query among all: by shard, then within it."""
    return shard * _SHARD + place


def normalize_query(query: str) -> str:
    """Return the query's words, joined by single spaces; letters of Thai and their like by none,
    since by single ones and pairs all queries would be alike."""
    words = split_comparable_words(query)
    gaps = ("" if is_syllable(a) and is_syllable(b) else " " for a, b in pairwise(words))
    return "".join(part for pair in zip(["", *gaps], words, strict=False) for part in pair)


def make_character_shingles(text: str) -> frozenset[str]:
    """Make the runs of 3 characters of a normalised text; a shorter text is one shingle."""
    return frozenset([text[i : i + _SHINGLE] for i in range(max(1, len(text) - _SHINGLE + 1))])


def compute_jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Compute the share of shingles that two queries have in common, from 0 to 1."""
    return len(one & other) / len(one | other)


@cache
def choose_band_rows(threshold: float, permutations: int = PERMUTATIONS) -> int:
    """Choose the signature rows a band: the most, and so the fewest proposals, with which a pair as
    similar as the threshold still shares a band with probability 0.99."""
    fit = [
        rows
        for rows in range(1, permutations + 1)
        if 1 - (1 - threshold**rows) ** (permutations // rows) >= _MIN_RECALL
    ]
    return max(fit, default=1)


class QueryDeduplicator:
    """The queries kept so far, in a new file that is removed at the end.

    Args:
        exact: look for queries of the same words.
        near: look for queries at least so similar, or None.
    """

    def __init__(self, file: Path, exact: bool, near: float | None) -> None:
        self._file = file
        self._exact = exact
        self._near = near
        self._rows = choose_band_rows(near) if near is not None else 0
        self._sketched: tuple[str, Sequence[int]] = ("", [])

    def __enter__(self) -> "QueryDeduplicator":
        self._file.unlink(missing_ok=True)
        self._db = sqlite3.connect(self._file)
        # A killed stage fills the file again from its shards, so nothing in it need be safe.
        self._db.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            f"PRAGMA cache_size = -{_CACHE_KIB};"
            "CREATE TABLE exact (key BLOB PRIMARY KEY, owner INTEGER) WITHOUT ROWID;"
            "CREATE TABLE bands (key INTEGER, owner INTEGER, PRIMARY KEY (key, owner))"
            " WITHOUT ROWID;"
            "CREATE TABLE texts (owner INTEGER PRIMARY KEY, text TEXT);"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._file.unlink(missing_ok=True)

    def find_reason(self, query: str, own: int, bands: Sequence[int] | None = None) -> str | None:
        """Return whether the query with the ordinal `own` repeats an earlier one, and how.

        Args:
            bands: the query's, by `make_bands`, where a worker has made them.
        """
        text = normalize_query(query)
        if bands:
            self._sketched = text, bands
        if self._exact and self._is_exact(text, own):
            return "exact duplicate"
        near = self._near is not None and self._is_near(text, own, self._near)
        return "near duplicate" if near else None

    def add(self, query: str, own: int) -> None:
        """Remember a query that is kept. To add it again changes nothing."""
        text = normalize_query(query)
        if self._exact:
            self._db.execute("INSERT OR IGNORE INTO exact VALUES (?, ?)", (_make_key(text), own))
        if self._near is not None:
            bands = [(key, own) for key in self._make_bands(text)]
            self._db.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?)", bands)
            self._db.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (own, text))

    def flush(self) -> None:
        """Commit the queries that were added to the file."""
        self._db.commit()

    def _is_exact(self, text: str, own: int) -> bool:
        rows = self._db.execute(
            "SELECT 1 FROM exact WHERE key = ? AND owner < ?", (_make_key(text), own)
        )
        return rows.fetchone() is not None

    def _is_near(self, text: str, own: int, threshold: float) -> bool:
        keys, mine = self._make_bands(text), make_character_shingles(text)
        proposed = self._db.execute(
            "SELECT text FROM texts WHERE owner IN (SELECT owner FROM bands WHERE key IN "
            f"({', '.join('?' * len(keys))}) AND owner < ? GROUP BY owner "
            f"ORDER BY count(*) DESC, owner LIMIT {_PROPOSALS})",
            (*keys, own),
        )
        return any(
            compute_jaccard(mine, make_character_shingles(other)) >= threshold
            for (other,) in proposed
        )

    def _make_bands(self, text: str) -> Sequence[int]:
        """Make the bands of a text, or take them: a query is looked for, then added."""
        if self._sketched[0] != text or not self._sketched[1]:
            self._sketched = text, _compute_bands(text, self._rows)
        return self._sketched[1]


def make_bands(query: str, near: float) -> list[int]:
    """Make a key for each band of a query's signature, by which queries at least so similar find
    each other."""
    return _compute_bands(normalize_query(query), choose_band_rows(near))


def _compute_bands(text: str, rows: int) -> list[int]:
    sketch = _EMPTY.copy()
    sketch.update_batch([shingle.encode() for shingle in make_character_shingles(text)])
    values = np.asarray(sketch.hashvalues, np.uint64)
    starts = range(0, PERMUTATIONS - rows + 1, rows)
    return [_make_band_key(at, values[at : at + rows].tobytes()) for at in starts]


def _make_key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _make_band_key(start: int, values: bytes) -> int:
    """Return a signed integer of 8 bytes, which is what SQLite stores."""
    content = start.to_bytes(2, "big") + values
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)
