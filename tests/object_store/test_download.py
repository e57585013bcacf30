"""A corpus that lies in an object store."""

import pytest
from helpers.passages import make_passages

from distill.api.before import init, load_recipe_for
from distill.errors import UserError
from distill.object_store.download import fetch_input, list_input
from distill.recipe import load_recipe
from distill.start.check import check_recipe
from distill.store.run import Run
from distill.store.tables import PASSAGES

TEXT = "Bees dance for one another in the dark of the hive."


@pytest.fixture
def put(server):
    """Put an object into the bucket."""
    return lambda name, text: server.put(name, text.encode())


def read(path: str, folder, **settings) -> list[str]:
    sets = [f"corpus.path={path}", *(f"corpus.{key}={value}" for key, value in settings.items())]
    recipe = load_recipe(None, ["name=mine", *sets])
    with Run(folder) as run:
        rows = make_passages(run, recipe.corpus, recipe.seed).read_rows(PASSAGES)
    return sorted(row["passage_id"] for row in rows)


def test_corpus_is_read_from_a_prefix_a_file_or_by_wildcards(put, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    put("data/docs/bees.md", TEXT)
    put("data/docs/more/birds.md", TEXT.replace("Bees", "Birds"))
    put("data/rows.jsonl", f'{{"_id": "a", "text": "{TEXT}"}}\n')
    put("data/2025.csv", f"id,text\nb,{TEXT}\n")
    put("data/2026.csv", f"id,text\nc,{TEXT.replace('dark', 'light')}\n")
    folder = "s3://bucket/data/docs"
    assert read(folder, tmp_path / "a", source="auto") == ["bees.md", "more/birds.md"]
    assert read("s3://bucket/data/rows.jsonl", tmp_path / "b") == ["a"]
    wild = "s3://bucket/data/20*.csv"
    assert read(wild, tmp_path / "c", source="auto", id_column="id") == ["b", "c"]


def test_files_in_the_cache_are_not_downloaded_again(server, put, tmp_path):
    put("docs/bees.md", TEXT)
    put("docs/birds.md", TEXT)
    copied = fetch_input("s3://bucket/docs", tmp_path)
    put("docs/bees.md", "changed")
    server.delete("docs/birds.md")
    server.requests.clear()
    assert fetch_input("s3://bucket/docs", tmp_path) == copied
    assert {path.name: path.read_text() for path in copied.iterdir()} == {"bees.md": "changed"}
    server.requests.clear()
    fetch_input("s3://bucket/docs", tmp_path)
    assert ("GET", "/bucket/docs/bees.md") not in server.requests


def test_check_lists_the_objects_and_reads_none(server, put, tmp_path):
    put("docs/rows.jsonl", f'{{"_id": "a", "text": "{TEXT}"}}\n')
    recipe = load_recipe(None, ["name=mine", "corpus.path=s3://bucket/docs", "store=s3://bucket/a"])
    notices = check_recipe(recipe, tmp_path / "run", models=False).notices
    assert "corpus: 1 objects, 76 bytes, are read when the run begins" in notices
    assert ("GET", "/bucket/docs/rows.jsonl") not in server.requests


@pytest.mark.slow
def test_first_recipe_names_the_address(put, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    put("docs/bees.md", TEXT)
    file = init("s3://bucket/docs", tmp_path / "docs.yaml").file
    recipe = load_recipe(file)
    assert (recipe.name, recipe.corpus.path) == ("docs", "s3://bucket/docs")
    written = [load_recipe_for("s3://bucket/docs", [], tmp_path / "run") for _ in range(2)]
    assert {one.corpus.path for one, _ in written} == {"s3://bucket/docs"}


@pytest.mark.bad_input("object store", "a corpus that is not there", "refused by its address")
def test_corpus_that_is_not_there_is_refused(server):
    with pytest.raises(UserError, match="holds no object") as refused:
        list_input("s3://bucket/nothing")
    assert refused.value.where == "s3://bucket/nothing"
