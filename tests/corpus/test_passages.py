"""The `passages` table and the held-out task, from every source."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.corpus_of_four import ROWS, make_corpus_recipe, make_run_passages, write_corpus

from distill.corpus import passages as stage
from distill.corpus.docstrings import source as docstrings
from distill.corpus.docstrings.held_out import make_held_out
from distill.corpus.readers.beir import read_beir
from distill.errors import UserError
from distill.files.atomic import read_json
from distill.recipe import Recipe
from distill.store import integrity
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import DROPPED, PASSAGES, Row, read_shard


def test_split_without_duplicates_and_short_texts(tmp_path: Path) -> None:
    made, rows = make_run_passages(
        tmp_path / "run", make_corpus_recipe(path=str(write_corpus(tmp_path)))
    )
    assert rows == [
        {
            "passage_id": "a",
            "title": "Copper",
            "text": "Copper conducts electricity well. It is red.",
            "source": "texts",
        },
        {
            "passage_id": "d#0",
            "title": "Ice",
            "text": "A glacier is slow ice.",
            "source": "texts",
        },
        {
            "passage_id": "d#1",
            "title": "Ice",
            "text": "It carves valleys as it moves.",
            "source": "texts",
        },
    ]
    assert made.manifest["counts"] == {
        "read": 4,
        "split": 1,
        "dropped duplicate": 1,
        "dropped short": 1,
        "kept": 3,
    }
    assert made.complete
    dropped = read_shard(DROPPED, made.metadata_dir / "dropped-part-00000.parquet")
    assert [(row["item_id"], row["reason"]) for row in dropped] == [
        ("b", "duplicate"),
        ("c", "short"),
    ]


def test_limit_is_drawn_by_seed_in_the_order_of_the_corpus(tmp_path: Path) -> None:
    rows = [{"_id": str(i), "text": f"The text with number {i} in it."} for i in range(50)]
    path = str(write_corpus(tmp_path, rows))

    def drawn(name: str, seed: int) -> list[int]:
        made, rows = make_run_passages(
            tmp_path / name, make_corpus_recipe(seed, path=path, limit=10)
        )
        assert made.manifest["counts"]["over limit"] == 40
        return [int(row["passage_id"]) for row in rows]

    first = drawn("one", 1)
    assert len(first) == 10
    assert first == sorted(first) == drawn("again", 1)
    assert first != drawn("two", 2)


def test_sources_agree(tmp_path: Path) -> None:
    """The same rows as JSONL, Parquet, a BEIR folder and a dataset give the same passages."""
    file = write_corpus(tmp_path / "jsonl")
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir" / "corpus.jsonl").write_bytes(file.read_bytes())
    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS[:2]), tmp_path / "parquet" / "0.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[2:]), tmp_path / "parquet" / "1.parquet")
    recipes = [
        make_corpus_recipe(source="jsonl", path=str(file)),
        make_corpus_recipe(source="jsonl", path=str(tmp_path / "jsonl")),
        make_corpus_recipe(source="beir", path=str(tmp_path / "beir")),
        make_corpus_recipe(source="parquet", path=str(tmp_path / "parquet")),
        make_corpus_recipe(source="dataset", dataset=str(tmp_path / "parquet")),
        make_corpus_recipe(source="beir", dataset=str(tmp_path / "parquet")),
    ]
    found = [make_run_passages(tmp_path / f"run{i}", r)[1] for i, r in enumerate(recipes)]
    for rows in found:
        assert [row | {"source": ""} for row in rows] == [row | {"source": ""} for row in found[0]]
    assert {row["source"] for row in found[2]} == {"beir"}
    assert {row["source"] for row in found[3]} == {"0", "1"}
    assert {row["source"] for row in found[4]} == {"parquet"}


def test_columns_by_other_names_and_numbered_rows(tmp_path: Path) -> None:
    file = write_corpus(
        tmp_path, [{"name": "T", "body": "One two three four."}, {"body": "A b c d e."}]
    )
    _, rows = make_run_passages(
        tmp_path / "run",
        make_corpus_recipe(path=str(file), title_column="name", text_column="body"),
    )
    assert [(r["passage_id"], r["title"]) for r in rows] == [("1", "T"), ("2", "")]


SPACELESS = {
    "Chinese": "冰川沿着山谷缓慢地流动。",
    "Japanese": "氷河は谷をゆっくりと流れる。",
    "Thai": "ธารน้ำแข็งเคลื่อนที่ช้าๆลงจากหุบเขา",
    "Khmer": "ផ្ទាំងទឹកកកផ្លាស់ទីយឺតៗចុះពីជ្រលងភ្នំ។",
    "Burmese": "ရေခဲမြစ်သည်တောင်ကြားမှဖြည်းညှင်းစွာစီးဆင်းသည်။",
    "Tibetan": "འཁྱགས་རོམ་ནི་ལུང་གཤོངས་ནས་རྒྱུག",
}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(s, marks=pytest.mark.bad_input("text", f"a corpus in {s}", "kept"))
        for s in SPACELESS
    ],
)
def test_text_without_spaces_is_kept_by_default(tmp_path: Path, script: str) -> None:
    rows = [{"_id": str(i), "text": f"{SPACELESS[script]}{i}"} for i in range(3)]
    wanted = Recipe.model_validate(
        {"name": "x", "corpus": {"path": str(write_corpus(tmp_path, rows))}}
    )
    made, kept = make_run_passages(tmp_path / "run", wanted)
    assert len(kept) == 3
    assert made.manifest["counts"] == {"read": 3, "kept": 3}


def as_before(folder: Path, wanted: Recipe, kept: list[Row]) -> None:
    """Passages as a version without `rules` wrote them."""
    settings = {
        "source": stage.open_source(wanted.corpus, wanted.seed).identity,
        "max_tokens": wanted.corpus.max_tokens,
        "min_words": wanted.corpus.min_words,
    }
    with Run(folder) as run:
        made = run.open_stage("passages", settings)
        starts = range(0, len(kept), stage._SHARD)
        made.map_shards(PASSAGES, starts, lambda at: ShardResult(kept[at : at + stage._SHARD]))
        made.finish()


def test_passages_from_before_stand_where_they_are_the_same(tmp_path: Path) -> None:
    wanted = make_corpus_recipe(path=str(write_corpus(tmp_path)))
    _, rows = make_run_passages(tmp_path / "fresh", wanted)
    as_before(tmp_path / "old", wanted, rows)
    assert make_run_passages(tmp_path / "old", wanted)[1] == rows
    as_before(tmp_path / "other", wanted, rows[:1])
    with pytest.raises(UserError, match=r"other settings or inputs; changed: corpus\.rules"):
        make_run_passages(tmp_path / "other", wanted)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.bad_input("damage", "a shard of passages of an older version", "made again")
@pytest.mark.parametrize("harm", [Path.unlink, flip, truncate])
@pytest.mark.parametrize("repaired", [False, True])
def test_damaged_passages_from_before_are_made_again(
    tmp_path: Path, harm: Any, repaired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_SHARD", 1)
    wanted = make_corpus_recipe(path=str(write_corpus(tmp_path)))
    made, rows = make_run_passages(tmp_path / "fresh", wanted)
    as_before(tmp_path / "old", wanted, rows)
    old = tmp_path / "old" / "passages"
    mark = read_json(old / ".stage" / "manifest.json")["fingerprint"]
    harm(old / "part-00001.parquet")
    integrity._verified.clear()
    if repaired:  # and killed before it was made again
        integrity.repair_stage(Stage("passages", old, mark))
    again, found = make_run_passages(tmp_path / "old", wanted)
    assert found == rows
    assert again.fingerprint == mark != made.fingerprint


def table_bytes(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.suffix in (".parquet", ".jsonl", ".tsv")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


_KILLED_AT_SHARD = """
import os, signal, sys
from pathlib import Path
from distill.corpus import passages
from distill.recipe import Recipe
from distill.store.stage import Stage
from distill.store.run import Run
passages._SHARD = 10
commit = Stage.commit_shard
def killing(self, path, shard, seconds):
    if path.name == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    commit(self, path, shard, seconds)
Stage.commit_shard = killing
recipe = Recipe.model_validate_json(sys.argv[2])
with Run(Path(sys.argv[1])) as run:
    passages.make_split_passages(run, recipe.corpus, recipe.seed, ())
"""


@pytest.mark.parametrize("shard", ["part-00000.parquet", "part-00002.parquet"])
def test_killed_and_continued_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: str
) -> None:
    monkeypatch.setattr(stage, "_SHARD", 10)
    rows = [{"_id": str(i), "text": f"The text with number {i // 2} in it."} for i in range(90)]
    wanted = make_corpus_recipe(path=str(write_corpus(tmp_path, rows)))
    whole, _ = make_run_passages(tmp_path / "whole", wanted)
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            _KILLED_AT_SHARD,
            tmp_path / "killed",
            wanted.model_dump_json(),
            shard,
        ],
        check=False,
        capture_output=True,
        env=os.environ,
    )
    assert killed.returncode == -signal.SIGKILL
    resumed, _ = make_run_passages(tmp_path / "killed", wanted)
    assert len(table_bytes(whole.folder)) == 5 + 5, "each shard drops rows"
    assert table_bytes(resumed.folder) == table_bytes(whole.folder)
    assert resumed.manifest["counts"] == whole.manifest["counts"]


def test_complete_corpus_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = make_corpus_recipe(path=str(write_corpus(tmp_path)))
    before = make_run_passages(tmp_path / "run", wanted)
    monkeypatch.setattr(stage, "gather_passages", None)
    assert make_run_passages(tmp_path / "run", wanted) == before


def test_held_out_folder_is_beir(tmp_path: Path, tinydocs: str) -> None:
    docstrings.load_docstrings.cache_clear()
    wanted = make_corpus_recipe(
        source="docstrings", packages=[tinydocs], held_out=0.999, max_tokens=80
    )
    with Run(tmp_path / "run") as run:
        made = make_held_out(run, wanted.corpus, wanted.seed)
        assert made is not None
        before = table_bytes(made.folder)
        (made.folder / "corpus.jsonl").unlink()  # as if killed before it was written
        manifest = made.manifest | {"complete": False}
        (made.metadata_dir / "manifest.json").write_text(json.dumps(manifest))
        assert make_held_out(run, wanted.corpus, wanted.seed) == made
    assert table_bytes(made.folder) == before
    beir = read_beir(made.folder)
    assert list(beir.qrels) == ["q-tinydocs.grow"]
    assert beir.corpus["tinydocs.grow"]["title"] == ""
    assert made.manifest["rows"] == 1


@pytest.mark.bad_input("corpus", "nothing is left to hold out", "refused, nothing written")
def test_held_out_without_pairs(tmp_path: Path, tinydocs: str) -> None:
    docstrings.load_docstrings.cache_clear()
    wanted = make_corpus_recipe(
        source="docstrings", packages=[tinydocs], held_out=0.999, min_words=500, max_tokens=900
    )
    with Run(tmp_path / "run") as run, pytest.raises(UserError, match="no held-out docstring"):
        make_held_out(run, wanted.corpus, wanted.seed)
    assert not (tmp_path / "run" / "held-out").exists()


def test_no_held_out_stage_where_nothing_is_held_out(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        wanted = make_corpus_recipe(path=str(write_corpus(tmp_path)))
        assert make_held_out(run, wanted.corpus, wanted.seed) is None
    assert not (tmp_path / "run" / "held-out").exists()


def test_scifact_corpus(tmp_path: Path, data_folder: Path) -> None:
    scifact = make_corpus_recipe(
        source="beir", path=str(data_folder / "mteb" / "SciFact"), max_tokens=256, min_words=5
    )
    made, rows = make_run_passages(tmp_path / "run", scifact)
    assert made.manifest["counts"]["read"] == 5183
    assert {row["source"] for row in rows} == {"SciFact"}
