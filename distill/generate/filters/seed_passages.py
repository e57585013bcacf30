"""Parsed rows with their seed passages, one shard of the corpus in memory at a time."""

from collections.abc import Collection
from pathlib import Path

from distill.errors import UserError
from distill.generate.filters.candidate import GeneratedQuery
from distill.store.shards import shards
from distill.store.tables import PASSAGES, Row, read_shard


class SeedPassages:
    """The corpus' passages by id. Seeds are asked for in the corpus' order, or nearly, so shards
    are read one after the other, from the last one on and round."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = shards(folder)
        self._held: dict[str, tuple[int, Row]] = {}
        self._next = 0
        self._passed = 0

    def find(self, ids: Collection[str]) -> dict[str, tuple[int, Row]]:
        """Number in the corpus and row of each passage.

        Raises:
            UserError: if one is not there.
        """
        found: dict[str, tuple[int, Row]] = {}
        for _ in range(len(self._paths) + 1):
            found |= {id_: self._held[id_] for id_ in ids if id_ in self._held}
            if len(found) == len(set(ids)):
                return found
            self._read_next()
        missing = sorted(set(ids) - found.keys())[0]
        raise UserError(
            str(self._folder),
            f"has no passage {missing!r}, for which a query was written",
            "run again with --overwrite stale",
        )

    def _read_next(self) -> None:
        if self._next == len(self._paths):
            self._next = self._passed = 0
        rows = read_shard(PASSAGES, self._paths[self._next])
        self._held = {row["passage_id"]: (n, row) for n, row in enumerate(rows, self._passed)}
        self._next += 1
        self._passed += len(rows)


def draws_of(rows: list[Row], corpus: SeedPassages) -> list[GeneratedQuery]:
    """Each row with its seed passage."""
    seeds = corpus.find({row["seed_id"] for row in rows})
    return [GeneratedQuery(row, seeds[row["seed_id"]][1], seeds[row["seed_id"]][0]) for row in rows]
