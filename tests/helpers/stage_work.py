"""A stage of three items."""

from pathlib import Path

from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import DROPPED

ITEMS = ["one", "two", "three"]


def make_shard(item: str) -> ShardResult:
    shard = ShardResult([{"item_id": item, "reason": "test", "text": item.upper()}])
    shard.counts["kept"] += 1
    return shard


def fill_stage(folder: Path, settings: dict, overwrite="never", work=make_shard):
    with Run(folder, overwrite) as run:
        stage = run.open_stage("words", settings)
        stage.map_shards(DROPPED, ITEMS, work)
        stage.finish()
        return stage


def read_content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}
