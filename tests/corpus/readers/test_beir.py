"""BEIR folders, well-formed and not."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.beir import BeirDataset, open_beir, read_beir
from distill.corpus.readers.packed import CODECS
from distill.corpus.readers.rows import Columns
from distill.errors import UserError


def write_beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    write_rows(
        folder / "corpus.jsonl",
        {"_id": "d1", "title": "Copper", "text": "Copper conducts."},
        {"_id": "d2", "title": "", "text": "Ice flows."},
    )
    write_rows(
        folder / "queries.jsonl",
        {"_id": "q1", "text": "what conducts"},
        {"_id": "q2", "text": "asked in another split"},
    )
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n")
    return folder


def write_rows(file: Path, *rows: dict[str, object]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def append(file: Path, line: str) -> None:
    file.write_text(file.read_text() + line)


def test_only_judged_queries_are_read(tmp_path: Path) -> None:
    assert read_beir(write_beir(tmp_path / "x")) == BeirDataset(
        {
            "d1": {"title": "Copper", "text": "Copper conducts."},
            "d2": {"title": "", "text": "Ice flows."},
        },
        {"q1": "what conducts"},
        {"q1": {"d1": 2, "d2": 0}},
    )


@pytest.mark.bad_input(
    "BEIR folder", "corpus, queries or judgements are missing", "refused, the file named"
)
@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    folder = write_beir(tmp_path / "x")
    (folder / name).unlink()
    with pytest.raises(UserError, match="no such file") as fault:
        read_beir(folder)
    assert fault.value.where == str(folder / name)


@pytest.mark.bad_input("BEIR folder", "an empty corpus", "refused")
def test_empty_corpus(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "x")
    (folder / "corpus.jsonl").write_text("\n")
    with pytest.raises(UserError, match=r"corpus\.jsonl: is empty"):
        read_beir(folder)


@pytest.mark.parametrize(
    ("file", "line", "row", "what"),
    [
        ("corpus.jsonl", '{"_id": "d3", "text": ["a"]}\n', 3, "column 'text' holds list"),
        ("corpus.jsonl", '{"text": "a"}\n', 3, "has no id: '_id' is missing"),
        ("corpus.jsonl", '{"_id": null, "text": "a"}\n', 3, "has no id"),
        ("corpus.jsonl", '\n{"_id": "d1", "text": "again"}\n', 4, "used in .*row 1 already"),
        ("corpus.jsonl", '{"_id": "d3"\n', 3, "is not JSON"),
        ("corpus.jsonl", '["d3", "text"]\n', 3, "is not a JSON object"),
        ("queries.jsonl", '{"_id": "q1", "text": "again"}\n', 3, "used in .*row 1 already"),
        ("qrels/test.tsv", "q1\td1\n", 4, "is not `query-id"),
        ("qrels/test.tsv", "q1\td1\tmuch\n", 4, "is not `query-id"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, file: str, line: str, row: int, what: str) -> None:
    folder = write_beir(tmp_path / "x")
    append(folder / file, line)
    with pytest.raises(UserError, match=what) as fault:
        read_beir(folder)
    assert fault.value.where == f"{folder / file}, row {row}"
    assert fault.value.remedy


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "x")
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "d1", "text": "\xff"}\n')
    with pytest.raises(UserError, match="row 1: is not UTF-8"):
        read_beir(folder)


def bad_data(what: str, outcome: str) -> pytest.MarkDecorator:
    return pytest.mark.bad_input("evaluation data", what, outcome)


@bad_data("a document or query without text", "read as it is, as mteb does")
@pytest.mark.parametrize("text", ["", " ", None])
def test_empty_texts_stay(tmp_path: Path, text: str | None) -> None:
    folder = write_beir(tmp_path / "x")
    append(folder / "corpus.jsonl", json.dumps({"_id": "d3", "text": text}) + "\n")
    append(folder / "queries.jsonl", json.dumps({"_id": "q3", "text": text}) + "\n")
    append(folder / "qrels" / "test.tsv", "q3\td3\t1\n")
    beir = read_beir(folder)
    assert beir.corpus["d3"] == {"title": "", "text": ""}
    assert beir.queries["q3"] == ""


@bad_data("a judgement of a document that is not there", "counted as not retrieved, and said")
def test_judgement_of_an_unknown_document_stays(tmp_path: Path, caplog) -> None:
    folder = write_beir(tmp_path / "x")
    append(folder / "qrels" / "test.tsv", "q1\td9\t1\n")
    assert read_beir(folder).qrels == {"q1": {"d1": 2, "d2": 0, "d9": 1}}
    assert "1 of 3 judgements name a document" in caplog.text
    assert "'d9' in row 4" in caplog.text


@bad_data("a judgement of a query that is not there", "passed over, and said")
def test_judgement_of_an_unknown_query_goes(tmp_path: Path, caplog) -> None:
    folder = write_beir(tmp_path / "x")
    append(folder / "qrels" / "test.tsv", "q9\td1\t1\n")
    assert list(read_beir(folder).qrels) == ["q1"]
    assert "name a query" in caplog.text


@bad_data("a pair that is judged twice", "the last row holds, as for mteb")
def test_last_judgement_of_a_pair_holds(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "x")
    append(folder / "qrels" / "test.tsv", "q1\td1\t1\n")
    assert read_beir(folder).qrels["q1"]["d1"] == 1


@bad_data("judgements of which none names a document that is there", "refused")
@pytest.mark.parametrize(("row", "kind"), [("q1\t1\t1", "document"), ("7\td1\t1", "query")])
def test_judgements_of_another_collection(tmp_path: Path, row: str, kind: str) -> None:
    folder = write_beir(tmp_path / "x")
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{row}\n")
    with pytest.raises(UserError, match=f"names no {kind} of .* in row 2"):
        read_beir(folder)


@bad_data("several bad rows", "named all at once, up to five")
def test_all_bad_judgements_are_named(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "x")
    append(folder / "qrels" / "test.tsv", "q1\td1\n" * 7)
    with pytest.raises(UserError, match=r"(?s)row 4: is not .*row 8: is not .*and 2 more rows"):
        read_beir(folder)


def test_judgements_without_a_row(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "x")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(UserError, match="holds no judgement"):
        read_beir(folder)


def test_identity_follows_the_corpus_alone(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "x")
    before = open_beir(folder).identity
    append(folder / "queries.jsonl", '{"_id": "q3", "text": "more"}\n')
    assert open_beir(folder).identity == before
    append(folder / "corpus.jsonl", '{"_id": "d3", "text": "more"}\n')
    assert open_beir(folder).identity != before


def test_scifact(data_folder: Path) -> None:
    beir = read_beir(data_folder / "mteb" / "SciFact")
    judgements = sum(len(judged) for judged in beir.qrels.values())
    assert (len(beir.corpus), len(beir.queries), judgements) == (5183, 300, 339)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_folder_is_read_as_an_unpacked_one(tmp_path: Path, ending: str) -> None:
    folder = write_beir(tmp_path / "plain")
    packed = tmp_path / "packed"
    shutil.copytree(folder, packed)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        pack(packed / name, ending)
    assert read_beir(packed) == read_beir(folder)
    documents = [(one.id, one.text) for one in open_auto(packed, Columns()).read()]
    assert documents == [(one.id, one.text) for one in open_beir(folder).read()]


@pytest.mark.bad_input("BEIR folder", "a file both compressed and not", "refused, both are named")
def test_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "x")
    shutil.copy(folder / "corpus.jsonl", tmp_path / "kept")
    pack(folder / "corpus.jsonl", ".gz")
    shutil.copy(tmp_path / "kept", folder / "corpus.jsonl")
    with pytest.raises(UserError) as refused:
        read_beir(folder)
    assert "corpus.jsonl and corpus.jsonl.gz" in refused.value.what


def pack(path: Path, ending: str) -> None:
    """Compress a file, which goes."""
    with pa.CompressedOutputStream(f"{path}{ending}", CODECS[ending]) as file:
        file.write(path.read_bytes())
    path.unlink()
