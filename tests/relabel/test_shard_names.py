"""Stages of very many shards: their order where names are too short for it, and what is said of
their number."""

from pathlib import Path

import pytest

from distill.pipeline.job import Job
from distill.recipe import load_recipe
from distill.store import stage as stages
from distill.store.run import Run
from distill.store.shards import list_shards

pytestmark = pytest.mark.slow
SMALL = ["relabel.shard_size=3", "generate.shard_size=3"]
KEYS = {
    "generations": "generate.shard_size",
    "parsed": "generate.shard_size",
    "queries": "generate.shard_size",
    "candidates": "relabel.shard_size",
    "judgements-ql": "relabel.shard_size",
    "labels": "relabel.shard_size",
    "examples": "relabel.shard_size",
}


def relabel(folder: Path, recipe_file: Path) -> dict[str, list[bytes]]:
    """The shards of each stage's table, in their order."""
    with Run(folder) as run:
        Job(run, load_recipe(recipe_file, SMALL)).relabel()
    return {name: [path.read_bytes() for path in list_shards(folder / name)] for name in KEYS}


def test_examples_of_shards_whose_names_do_not_sort_as_text_are_the_same(
    recipe_file, tmp_path, monkeypatch, caplog
):
    """As names of five digits do from shard 100,000 on; and each stage says which key to raise."""
    wide = relabel(tmp_path / "wide", recipe_file)
    monkeypatch.setattr(stages, "make_shard_name", lambda number, count: f"part-{number}")
    monkeypatch.setattr(stages, "_MANY_SHARDS", 1)
    narrow = relabel(tmp_path / "narrow", recipe_file)
    assert len(narrow["judgements-ql"]) > 10
    assert (tmp_path / "narrow" / "judgements-ql" / "part-9.parquet").exists()
    assert narrow == wide
    said = [record.getMessage() for record in caplog.records]
    for name, key in KEYS.items():
        here = [words for words in said if words.startswith(f"{tmp_path / 'narrow' / name}:")]
        assert len(here) == 1, name
        assert f"raise {key} for" in here[0]
