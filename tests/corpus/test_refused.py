"""Corpora that are refused, and their rows that are left out or replaced."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.corpus_of_four import ROWS, make_corpus_recipe, make_run_passages, write_corpus

from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.rows import Columns
from distill.errors import UserError
from distill.store.tables import DROPPED, read_shard


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"_id": "a", "text": "Again."}, r"row 5: the id 'a' was used in .*texts\.jsonl, row 1"),
        ({"text": "No id."}, r"row 5: has no id"),
    ],
)
def test_bad_row_leaves_the_run_as_it_was(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    file = write_corpus(tmp_path, [*ROWS, row])
    with pytest.raises(UserError, match=what):
        make_run_passages(tmp_path / "run", make_corpus_recipe(path=str(file)))
    assert not (tmp_path / "run" / "passages").exists()
    write_corpus(tmp_path, ROWS)
    assert make_run_passages(tmp_path / "run", make_corpus_recipe(path=str(file)))[0].complete


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
    file = write_corpus(tmp_path, [*ROWS, row])
    made, rows = make_run_passages(tmp_path / "run", make_corpus_recipe(path=str(file)))
    assert (
        rows
        == make_run_passages(
            tmp_path / "other", make_corpus_recipe(path=str(write_corpus(tmp_path)))
        )[1]
    )
    assert made.manifest["counts"][f"dropped {reason}"] == 1
    assert f"1 row, {reason}: row 5" in caplog.text
    dropped = read_shard(DROPPED, made.metadata_dir / "dropped-part-00000.parquet")
    assert {"item_id": row["_id"], "reason": reason, "text": ""} in dropped


@bad_row("half a surrogate pair", "replaced by the sign for a lost character, counted")
def test_half_a_surrogate_pair_is_replaced(tmp_path: Path, caplog) -> None:
    row = {"_id": "e", "text": "Lava is \ud83d hot and it glows."}
    made, rows = make_run_passages(
        tmp_path / "run", make_corpus_recipe(path=str(write_corpus(tmp_path, [*ROWS, row])))
    )
    assert rows[-1]["text"] == "Lava is \ufffd hot and it glows."
    assert made.manifest["counts"]["half surrogates replaced"] == 1
    assert "replaced: id 'e'" in caplog.text


@bad_row("a NUL in a title or text", "refused with its row, as in a text file")
@pytest.mark.parametrize("column", ["title", "text"])
def test_nul_of_a_row_is_refused_as_that_of_a_text_file(tmp_path: Path, column: str) -> None:
    """It was written into passages."""
    row = {"_id": "e", "text": "Lava is hot."} | {column: "Lava \0 glows."}
    for form in ("jsonl", "parquet", "csv"):
        file = tmp_path / f"rows.{form}"
        if form == "jsonl":
            file.write_text(json.dumps(row))
        elif form == "parquet":
            pq.write_table(pa.Table.from_pylist([row]), file)
        else:
            file.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
        with pytest.raises(UserError, match=rf"row 1: column '{column}' holds a NUL"):
            list(open_auto(file, Columns()).read())
    (tmp_path / "lava.txt").write_text("Lava \0 glows.")
    with pytest.raises(UserError, match="row 1: holds a NUL"):
        list(open_auto(tmp_path / "lava.txt", Columns()).read())


@bad_row("several bad rows", "named all at once, up to five")
def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    bad = [{"text": "No id."}, {"_id": "a", "text": "Again."}, {"_id": "f", "text": [1]}]
    file = write_corpus(tmp_path, [*ROWS, *bad])
    file.write_text(file.read_text() + "no JSON\n" * 5)
    with pytest.raises(
        UserError,
        match=r"(?s)row 5: has no id.*row 6: the id 'a' was used in .*"
        r"row 1 already.*row 7: column 'text' holds list.*and 3 more",
    ) as fault:
        make_run_passages(tmp_path / "run", make_corpus_recipe(path=str(file)))
    assert "give each row an id of its own" in fault.value.remedy


@bad_row("a title without a text", "the title is a passage")
@pytest.mark.parametrize("text", ["", None])
def test_title_alone_is_a_passage(tmp_path: Path, text: str | None) -> None:
    row = {"_id": "e", "title": "The slow movement of ice in valleys", "text": text}
    _, rows = make_run_passages(
        tmp_path / "run", make_corpus_recipe(path=str(write_corpus(tmp_path, [*ROWS, row])))
    )
    assert (rows[-1]["title"], rows[-1]["text"]) == (row["title"], "")


def test_empty_corpus_error_says_what_to_set_for_each_reason(tmp_path: Path) -> None:
    rows = [{"_id": "a", "text": "Short."}, {"_id": "b", "text": None}]
    with pytest.raises(UserError, match="1 dropped no text, 1 dropped short, 2 read") as fault:
        make_run_passages(
            tmp_path / "run", make_corpus_recipe(path=str(write_corpus(tmp_path, rows)))
        )
    assert "corpus.min_words" in fault.value.remedy
    assert "corpus.text_column" in fault.value.remedy


def test_empty_corpus_error_names_the_counts(tmp_path: Path) -> None:
    file = write_corpus(tmp_path)
    with pytest.raises(
        UserError, match=r"gives no passage \(5 dropped short, 4 read, 1 split\)"
    ) as fault:
        make_run_passages(tmp_path / "run", make_corpus_recipe(path=str(file), min_words=50))
    assert fault.value.where == str(file)
    write_corpus(tmp_path, [])
    with pytest.raises(UserError, match="it is empty"):
        make_run_passages(tmp_path / "run", make_corpus_recipe(path=str(file)))


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
        make_run_passages(tmp_path / "run", make_corpus_recipe(**corpus))


@pytest.mark.bad_input("corpus", "a folder without a file of the kind", "refused")
def test_folder_without_a_file_of_the_kind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.parquet file"):
        make_run_passages(
            tmp_path / "run", make_corpus_recipe(source="parquet", path=str(tmp_path / "empty"))
        )


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
            make_run_passages(tmp_path / "run", make_corpus_recipe(**source))


def test_usual_columns_of_a_dataset_are_found(tmp_path: Path, caplog) -> None:
    (tmp_path / "d").mkdir()
    rows = pa.table({"docid": ["a"], "headline": ["Swifts"], "body": ["They sleep on the wing."]})
    pq.write_table(rows, tmp_path / "d" / "0.parquet")
    _, (found,) = make_run_passages(
        tmp_path / "run", make_corpus_recipe(dataset=str(tmp_path / "d"), min_words=1)
    )
    assert (found["passage_id"], found["title"]) == ("a", "Swifts")
    assert "read from the columns 'docid', 'headline', 'body'" in caplog.text


def test_parquet_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(UserError, match=r"x\.parquet: is not a readable Parquet file"):
        make_run_passages(
            tmp_path / "run", make_corpus_recipe(source="parquet", path=str(tmp_path / "x.parquet"))
        )


@pytest.mark.bad_input("corpus", "a dataset without the split", "refused, corpus.split named")
def test_dataset_without_the_split(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data")
    with pytest.raises(UserError, match="split") as fault:
        make_run_passages(
            tmp_path / "run", make_corpus_recipe(dataset=str(tmp_path / "data"), split="nope")
        )
    assert "corpus.split" in fault.value.remedy


@pytest.mark.bad_input(
    "corpus", "a file that changed under a run", "refused until --overwrite says what to do"
)
def test_changed_file_is_another_fingerprint(tmp_path: Path) -> None:
    file = write_corpus(tmp_path)
    make_run_passages(tmp_path / "run", make_corpus_recipe(path=str(file)))
    write_corpus(tmp_path, ROWS[:1])
    with pytest.raises(UserError, match="other settings or inputs"):
        make_run_passages(tmp_path / "run", make_corpus_recipe(path=str(file)))


@pytest.mark.bad_input("corpus", "an id such as d#0, which a piece of d has", "refused, both named")
def test_id_that_a_piece_of_another_has(tmp_path: Path) -> None:
    clash = {"_id": "d#0", "text": "Some other text of this name."}
    with pytest.raises(UserError, match="'d#0' belongs to a document and to a piece"):
        make_run_passages(
            tmp_path / "run", make_corpus_recipe(path=str(write_corpus(tmp_path, [*ROWS, clash])))
        )
