"""Read the passages that the held-out queries search: the held-out ones among those that were
trained on, up to a limit."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distill.store.passages import PassageReader, draw_passages
from distill.store.stage import Stage
from distill.store.tables import PASSAGES, QUERIES, Row, read_rows
from distill.tasks.beir_folder import write_beir_folder

PairId = tuple[str, str]
"""A query's and a passage's id."""


class JudgedCollection(NamedTuple):
    """Passages that are searched, and queries, each written for the passage `seed_id` or, of a log,
    for none (""): rows with passage_id, title and text, and with query_id, query and seed_id."""

    passages: list[Row]
    queries: list[Row]


def read_collection(
    most: int, seed: int, passages: Stage, held_out: Stage, queries: Stage
) -> JudgedCollection:
    """Read the queries and the passages that are searched, `most` at the most: those that queries
    were written for, other held-out ones, and training passages, the last two drawn by seed where
    there are more."""
    query_rows = list(read_rows(QUERIES, queries.folder))
    seeds = {query["seed_id"] for query in query_rows}
    held = list(read_rows(PASSAGES, held_out.folder))
    others = draw_passages(PassageReader(passages.folder), max(0, most - len(held)), seed)
    return JudgedCollection(_limit(held, seeds, most, seed) + others, query_rows)


def _limit(rows: list[Row], needed: set[str], limit: int, seed: int) -> list[Row]:
    """Draw `limit` of the rows, in their order, those that are needed among them."""
    spare = [number for number, row in enumerate(rows) if row["passage_id"] not in needed]
    surplus = min(len(spare), max(0, len(rows) - limit))
    left_out = set(random.Random(seed).sample(spare, surplus))
    return [row for number, row in enumerate(rows) if number not in left_out]


def write_collection(
    folder: Path, collection: JudgedCollection, grades: Mapping[PairId, int]
) -> None:
    """Write a collection as a BEIR folder: corpus.jsonl, queries.jsonl with each query's seed
    passage, and qrels/test.tsv.

    Args:
        grades: by query and passage.
    """
    write_beir_folder(
        folder,
        (
            {"_id": row["passage_id"], "title": row["title"], "text": row["text"]}
            for row in collection.passages
        ),
        (
            {"_id": row["query_id"], "text": row["query"], "seed": row["seed_id"]}
            for row in collection.queries
        ),
        grades,
    )


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSONL file that `write_json_lines` wrote."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
