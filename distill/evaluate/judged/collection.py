"""What the held-out queries are asked of: the held-out passages among those that were trained on,
up to a limit."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distill.recipe import Recipe
from distill.store.stage import Stage
from distill.store.tables import PASSAGES, QUERIES, Reader, Row, read_rows
from distill.tasks.beir_folder import write_beir_folder

PairId = tuple[str, str]
"""A query's and a passage's id."""


class JudgedCollection(NamedTuple):
    """Passages that are searched, and queries, each written for the passage `seed_id`: rows with
    passage_id, title and text, and with query_id, query and seed_id."""

    passages: list[Row]
    queries: list[Row]


def read_collection(
    recipe: Recipe, passages: Stage, held_out: Stage, queries: Stage
) -> JudgedCollection:
    """Read the held-out passages, the queries, and so many training passages, drawn by seed, that
    `evaluate.judged.passages` are searched in all."""
    own = list(read_rows(PASSAGES, held_out.folder))
    others = Reader(PASSAGES, passages.folder)
    room = max(0, recipe.evaluate.judged.passages - len(own))
    drawn = random.Random(recipe.seed).sample(range(len(others)), min(room, len(others)))
    searched = own + [others[number] for number in sorted(drawn)]
    return JudgedCollection(searched, list(read_rows(QUERIES, queries.folder)))


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
