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
from helpers.passages import make_passages

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

ROWS = [
    {"_id": "a", "title": "Copper", "text": "Copper conducts electricity well. It is red."},
    {"_id": "b", "title": "Copper", "text": "copper  conducts electricity well. it is red."},
    {"_id": "c", "title": "", "text": "Too short."},
    {"_id": "d", "title": "Ice", "text": "A glacier is slow ice. It carves valleys as it moves."},
]


def recipe(seed: int = 13, **corpus: Any) -> Recipe:
    values = {"min_words": 4, "max_tokens": 12} | corpus
    return Recipe.model_validate({"name": "x", "seed": seed, "corpus": values})


def jsonl(folder: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def passages(run: Path, recipe: Recipe) -> tuple[Stage, list[Row]]:
    with Run(run) as opened:
        made = make_passages(opened, recipe.corpus, recipe.seed)
    return made, made.read_rows(PASSAGES)


def test_split_without_duplicates_and_short_texts(tmp_path: Path) -> None:
    made, rows = passages(tmp_path / "run", recipe(path=str(jsonl(tmp_path))))
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
    path = str(jsonl(tmp_path, rows))

    def drawn(name: str, seed: int) -> list[int]:
        made, rows = passages(tmp_path / name, recipe(seed, path=path, limit=10))
        assert made.manifest["counts"]["over limit"] == 40
        return [int(row["passage_id"]) for row in rows]

    first = drawn("one", 1)
    assert len(first) == 10
    assert first == sorted(first) == drawn("again", 1)
    assert first != drawn("two", 2)


def test_sources_agree(tmp_path: Path) -> None:
    """The same rows as JSONL, Parquet, a BEIR folder and a dataset give the same passages."""
    file = jsonl(tmp_path / "jsonl")
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir" / "corpus.jsonl").write_bytes(file.read_bytes())
    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS[:2]), tmp_path / "parquet" / "0.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[2:]), tmp_path / "parquet" / "1.parquet")
    recipes = [
        recipe(source="jsonl", path=str(file)),
        recipe(source="jsonl", path=str(tmp_path / "jsonl")),
        recipe(source="beir", path=str(tmp_path / "beir")),
        recipe(source="parquet", path=str(tmp_path / "parquet")),
        recipe(source="dataset", dataset=str(tmp_path / "parquet")),
        recipe(source="beir", dataset=str(tmp_path / "parquet")),
    ]
    found = [passages(tmp_path / f"run{i}", r)[1] for i, r in enumerate(recipes)]
    for rows in found:
        assert [row | {"source": ""} for row in rows] == [row | {"source": ""} for row in found[0]]
    assert {row["source"] for row in found[2]} == {"beir"}
    assert {row["source"] for row in found[3]} == {"0", "1"}
    assert {row["source"] for row in found[4]} == {"parquet"}


def test_columns_by_other_names_and_numbered_rows(tmp_path: Path) -> None:
    file = jsonl(tmp_path, [{"name": "T", "body": "One two three four."}, {"body": "A b c d e."}])
    _, rows = passages(
        tmp_path / "run", recipe(path=str(file), title_column="name", text_column="body")
    )
    assert [(r["passage_id"], r["title"]) for r in rows] == [("1", "T"), ("2", "")]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"_id": "a", "text": "Again."}, r"row 5: the id 'a' was used in .*texts\.jsonl, row 1"),
        ({"text": "No id."}, r"row 5: has no id"),
    ],
)
def test_bad_row_leaves_the_run_as_it_was(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    file = jsonl(tmp_path, [*ROWS, row])
    with pytest.raises(UserError, match=what):
        passages(tmp_path / "run", recipe(path=str(file)))
    assert not (tmp_path / "run" / "passages").exists()
    jsonl(tmp_path, ROWS)
    assert passages(tmp_path / "run", recipe(path=str(file)))[0].complete


@pytest.mark.bad_input("corpus", "every text is too short", "refused with the counts")
def bad_row(what: str, outcome: str) -> pytest.MarkDecorator:
    return pytest.mark.bad_input("corpus row", what, outcome)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({"_id": "e"}, "no text", marks=bad_row("no text", "left out, counted, named")),
        pytest.param({"_id": "e", "text": None}, "no text", marks=bad_row("text null", "the same")),
        pytest.param({"_id": "e", "title": "", "text": " "}, "no text"),
        pytest.param(
            ROWS[0], "repeated", marks=bad_row("an id twice with one text", "left out, counted")
        ),
    ],
)
def test_rows_that_say_nothing_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, row: dict[str, Any], reason: str
) -> None:
    file = jsonl(tmp_path, [*ROWS, row])
    made, rows = passages(tmp_path / "run", recipe(path=str(file)))
    assert rows == passages(tmp_path / "other", recipe(path=str(jsonl(tmp_path))))[1]
    assert made.manifest["counts"][f"dropped {reason}"] == 1
    assert f"1 row, {reason}: row 5" in caplog.text
    dropped = read_shard(DROPPED, made.metadata_dir / "dropped-part-00000.parquet")
    assert {"item_id": row["_id"], "reason": reason, "text": ""} in dropped


@bad_row("half a surrogate pair", "replaced by the sign for a lost character, counted")
def test_half_a_surrogate_pair_is_replaced(tmp_path: Path, caplog) -> None:
    row = {"_id": "e", "text": "Lava is \ud83d hot and it glows."}
    made, rows = passages(tmp_path / "run", recipe(path=str(jsonl(tmp_path, [*ROWS, row]))))
    assert rows[-1]["text"] == "Lava is \ufffd hot and it glows."
    assert made.manifest["counts"]["half surrogates replaced"] == 1
    assert "replaced: id 'e'" in caplog.text


@bad_row("several bad rows", "named all at once, up to five")
def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    bad = [{"text": "No id."}, {"_id": "a", "text": "Again."}, {"_id": "f", "text": [1]}]
    file = jsonl(tmp_path, [*ROWS, *bad])
    file.write_text(file.read_text() + "no JSON\n" * 5)
    with pytest.raises(
        UserError,
        match=r"(?s)row 5: has no id.*row 6: the id 'a' was used in .*"
        r"row 1 already.*row 7: column 'text' holds list.*and 3 more",
    ) as fault:
        passages(tmp_path / "run", recipe(path=str(file)))
    assert "give each row an id of its own" in fault.value.remedy


@bad_row("a title without a text", "the title is a passage")
@pytest.mark.parametrize("text", ["", None])
def test_title_alone_is_a_passage(tmp_path: Path, text: str | None) -> None:
    row = {"_id": "e", "title": "The slow movement of ice in valleys", "text": text}
    _, rows = passages(tmp_path / "run", recipe(path=str(jsonl(tmp_path, [*ROWS, row]))))
    assert (rows[-1]["title"], rows[-1]["text"]) == (row["title"], "")


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
    wanted = Recipe.model_validate({"name": "x", "corpus": {"path": str(jsonl(tmp_path, rows))}})
    made, kept = passages(tmp_path / "run", wanted)
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
    wanted = recipe(path=str(jsonl(tmp_path)))
    _, rows = passages(tmp_path / "fresh", wanted)
    as_before(tmp_path / "old", wanted, rows)
    assert passages(tmp_path / "old", wanted)[1] == rows
    as_before(tmp_path / "other", wanted, rows[:1])
    with pytest.raises(UserError, match=r"other settings or inputs; changed: corpus\.rules"):
        passages(tmp_path / "other", wanted)


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
    wanted = recipe(path=str(jsonl(tmp_path)))
    made, rows = passages(tmp_path / "fresh", wanted)
    as_before(tmp_path / "old", wanted, rows)
    old = tmp_path / "old" / "passages"
    mark = read_json(old / ".stage" / "manifest.json")["fingerprint"]
    harm(old / "part-00001.parquet")
    integrity._verified.clear()
    if repaired:  # and killed before it was made again
        integrity.repair_stage(Stage("passages", old, mark))
    again, found = passages(tmp_path / "old", wanted)
    assert found == rows
    assert again.fingerprint == mark != made.fingerprint


def test_empty_corpus_error_says_what_to_set_for_each_reason(tmp_path: Path) -> None:
    rows = [{"_id": "a", "text": "Short."}, {"_id": "b", "text": None}]
    with pytest.raises(UserError, match="1 dropped no text, 1 dropped short, 2 read") as fault:
        passages(tmp_path / "run", recipe(path=str(jsonl(tmp_path, rows))))
    assert "corpus.min_words" in fault.value.remedy
    assert "corpus.text_column" in fault.value.remedy


def test_empty_corpus_error_names_the_counts(tmp_path: Path) -> None:
    file = jsonl(tmp_path)
    with pytest.raises(
        UserError, match=r"gives no passage \(5 dropped short, 4 read, 1 split\)"
    ) as fault:
        passages(tmp_path / "run", recipe(path=str(file), min_words=50))
    assert fault.value.where == str(file)
    jsonl(tmp_path, [])
    with pytest.raises(UserError, match="it is empty"):
        passages(tmp_path / "run", recipe(path=str(file)))


@pytest.mark.bad_input(
    "corpus", "no path, no dataset, a hub out of reach", "refused, the key named"
)
@pytest.mark.parametrize(
    ("corpus", "what"),
    [
        ({"source": "jsonl", "path": "/no/such/file"}, "no such file or folder"),
        ({"source": "jsonl"}, "corpus.path is not set"),
        ({"source": "beir"}, "corpus.path is not set"),
        ({"source": "dataset"}, "corpus.dataset is not set"),
        ({"source": "dataset", "path": "x"}, "corpus.dataset is not set"),
        ({"source": "dataset", "dataset": "nobody/no-such-set"}, "cannot be reached"),
        ({"source": "docstrings", "packages": ["no_such"]}, "'no_such' is not installed"),
    ],
)
def test_corpus_that_is_not_there(tmp_path: Path, corpus: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        passages(tmp_path / "run", recipe(**corpus))


@pytest.mark.bad_input("corpus", "a folder without a file of the kind", "refused")
def test_folder_without_a_file_of_the_kind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.parquet file"):
        passages(tmp_path / "run", recipe(source="parquet", path=str(tmp_path / "empty")))


@pytest.mark.bad_input(
    "columns", "Parquet or a dataset without the text column", "refused, columns listed"
)
def test_parquet_and_dataset_without_the_text_column(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    pq.write_table(pa.table({"_id": ["a"], "inhalt": ["x"]}), tmp_path / "p" / "0.parquet")
    for source in (
        {"source": "parquet", "path": str(tmp_path / "p")},
        {"dataset": str(tmp_path / "p")},
    ):
        with pytest.raises(
            UserError, match=r"no column 'text'; its columns are \['_id', 'inhalt'\]"
        ):
            passages(tmp_path / "run", recipe(**source))


def test_usual_columns_of_a_dataset_are_found(tmp_path: Path, caplog) -> None:
    (tmp_path / "d").mkdir()
    rows = pa.table({"docid": ["a"], "headline": ["Swifts"], "body": ["They sleep on the wing."]})
    pq.write_table(rows, tmp_path / "d" / "0.parquet")
    _, (found,) = passages(tmp_path / "run", recipe(dataset=str(tmp_path / "d"), min_words=1))
    assert (found["passage_id"], found["title"]) == ("a", "Swifts")
    assert "read from the columns 'docid', 'headline', 'body'" in caplog.text


def test_parquet_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(UserError, match=r"x\.parquet: is not a readable Parquet file"):
        passages(tmp_path / "run", recipe(source="parquet", path=str(tmp_path / "x.parquet")))


@pytest.mark.bad_input("corpus", "a dataset without the split", "refused, corpus.split named")
def test_dataset_without_the_split(tmp_path: Path) -> None:
    jsonl(tmp_path / "data")
    with pytest.raises(UserError, match="split") as fault:
        passages(tmp_path / "run", recipe(dataset=str(tmp_path / "data"), split="nope"))
    assert "corpus.split" in fault.value.remedy


@pytest.mark.bad_input(
    "corpus", "a file that changed under a run", "refused until --overwrite says what to do"
)
def test_changed_file_is_another_fingerprint(tmp_path: Path) -> None:
    file = jsonl(tmp_path)
    passages(tmp_path / "run", recipe(path=str(file)))
    jsonl(tmp_path, ROWS[:1])
    with pytest.raises(UserError, match="other settings or inputs"):
        passages(tmp_path / "run", recipe(path=str(file)))


@pytest.mark.bad_input("corpus", "an id such as d#0, which a piece of d has", "refused, both named")
def test_id_that_a_piece_of_another_has(tmp_path: Path) -> None:
    clash = {"_id": "d#0", "text": "Some other text of this name."}
    with pytest.raises(UserError, match="'d#0' belongs to a document and to a piece"):
        passages(tmp_path / "run", recipe(path=str(jsonl(tmp_path, [*ROWS, clash]))))


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
    wanted = recipe(path=str(jsonl(tmp_path, rows)))
    whole, _ = passages(tmp_path / "whole", wanted)
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
    resumed, _ = passages(tmp_path / "killed", wanted)
    assert len(table_bytes(whole.folder)) == 5 + 5, "each shard drops rows"
    assert table_bytes(resumed.folder) == table_bytes(whole.folder)
    assert resumed.manifest["counts"] == whole.manifest["counts"]


def test_complete_corpus_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = recipe(path=str(jsonl(tmp_path)))
    before = passages(tmp_path / "run", wanted)
    monkeypatch.setattr(stage, "gather_passages", None)
    assert passages(tmp_path / "run", wanted) == before


def test_held_out_folder_is_beir(tmp_path: Path, tinydocs: str) -> None:
    docstrings.load_docstrings.cache_clear()
    wanted = recipe(source="docstrings", packages=[tinydocs], held_out=0.999, max_tokens=80)
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
    wanted = recipe(
        source="docstrings", packages=[tinydocs], held_out=0.999, min_words=500, max_tokens=900
    )
    with Run(tmp_path / "run") as run, pytest.raises(UserError, match="no held-out docstring"):
        make_held_out(run, wanted.corpus, wanted.seed)
    assert not (tmp_path / "run" / "held-out").exists()


def test_no_held_out_stage_where_nothing_is_held_out(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        wanted = recipe(path=str(jsonl(tmp_path)))
        assert make_held_out(run, wanted.corpus, wanted.seed) is None
    assert not (tmp_path / "run" / "held-out").exists()


def test_scifact_corpus(tmp_path: Path, data_folder: Path) -> None:
    scifact = recipe(
        source="beir", path=str(data_folder / "mteb" / "SciFact"), max_tokens=256, min_words=5
    )
    made, rows = passages(tmp_path / "run", scifact)
    assert made.manifest["counts"]["read"] == 5183
    assert {row["source"] for row in rows} == {"SciFact"}
