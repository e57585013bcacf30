"""Queries for filters."""

from distill.store.tables import QUERIES
from helpers.query_rows import (
    make_parsed_row,
    make_passage,
)
from helpers.tiny_models import TEXTS

PASSAGES = [make_passage(f"p{n}", text) for n, text in enumerate(TEXTS)]


def list_kept(stage):
    return [(row["query_id"], row["query"]) for row in stage.read_rows(QUERIES)]


def make_many_queries(shards=6, size=7):
    """Queries of which many repeat one of an earlier shard, exactly or nearly."""
    rows = []
    for shard in range(shards):
        rows.append([])
        for place in range(size):
            about = ["heart", "copper wire", "glacier", "bees"][(3 * shard + place) % 4]
            when = ["", " today", " today?", " in the long cold winter"][(shard + place) % 4]
            seed = f"p{(shard * size + place) % len(PASSAGES)}"
            rows[-1].append(make_parsed_row(seed, f"how does the {about} work{when}", sample=place))
    return rows


BOTH = {"exact_duplicates": True, "near_duplicates": 0.85}


def read_shards(stage):
    return [path.read_bytes() for path in sorted(stage.folder.glob("*.parquet"))]
