"""The names of a table's shards, and their order."""

import re
from pathlib import Path

from distill.workers.node_copy import fetch_if_copied

_SHARD = re.compile(r"(?:dropped-)?part-(\d+)", re.ASCII)


def list_shards(folder: Path) -> list[Path]:
    """List the committed shards of a table, in the order of their numbers, as names of different
    lengths do not sort so as text; files of other names, as other programs write them, come first,
    by name."""
    fetch_if_copied(folder)
    paths = (p for p in folder.glob("*.parquet") if not p.name.startswith("."))
    return sorted(paths, key=lambda p: (read_shard_number(p), p.name))


def make_shard_name(number: int, count: int = 0) -> str:
    """Make a shard's name, without a suffix. All names of a table of `count` shards have one
    length, so that readers that sort them as text read them in order, too."""
    return f"part-{number:0{max(5, len(str(count - 1)))}d}"


def read_shard_number(path: Path) -> int:
    """Return the number in the name of a shard or of a file beside it; -1 if there is none."""
    match = _SHARD.fullmatch(path.stem)
    return int(match[1]) if match else -1
