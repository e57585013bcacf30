"""The stage `passages` of a corpus from which nothing is held out, and single shards."""

from collections.abc import Sequence
from pathlib import Path

from distill.corpus.passages import make_split_passages
from distill.files.atomic import commit_bytes
from distill.recipe import Corpus
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import Row, Table, encode_shard


def make_passages(run: Run, corpus: Corpus, seed: int) -> Stage:
    return make_split_passages(run, corpus, seed, ()).passages


def write_shard(table: Table, path: Path, rows: Sequence[Row]) -> None:
    commit_bytes(path, encode_shard(table, rows))
