"""BEIR folders, well-formed and not."""

import json
from pathlib import Path

import pytest

from distill.corpus.beir import Beir, open_beir, read_beir
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
    assert read_beir(write_beir(tmp_path / "x")) == Beir(
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
        ("corpus.jsonl", '{"_id": "d3", "title": "t"}\n', 3, "has no text in column 'text'"),
        ("corpus.jsonl", '{"_id": "d3", "title": "", "text": " "}\n', 3, "neither title nor text"),
        ("corpus.jsonl", '{"_id": "d3", "text": ["a"]}\n', 3, "column 'text' holds list"),
        ("corpus.jsonl", '{"text": "a"}\n', 3, "has no '_id'"),
        ("corpus.jsonl", '{"_id": null, "text": "a"}\n', 3, "has no id"),
        ("corpus.jsonl", '\n{"_id": "d1", "text": "again"}\n', 4, "used in .*row 1 already"),
        ("corpus.jsonl", '{"_id": "d3"\n', 3, "is not JSON"),
        ("corpus.jsonl", '["d3", "text"]\n', 3, "is not a JSON object"),
        ("corpus.jsonl", '{"_id": "d3", "text": "\\ud800"}\n', 3, "half a surrogate pair"),
        ("queries.jsonl", '{"_id": "q1", "text": "again"}\n', 3, "used in .*row 1 already"),
        ("queries.jsonl", '{"_id": "q3", "text": ""}\n', 3, "neither title nor text"),
        ("qrels/test.tsv", "q1\td9\t1\n", 4, "unknown document 'd9'"),
        ("qrels/test.tsv", "q9\td1\t1\n", 4, "unknown query 'q9'"),
        ("qrels/test.tsv", "q1\td1\n", 4, "is not `query-id"),
        ("qrels/test.tsv", "q1\td1\tmuch\n", 4, "is not `query-id"),
        ("qrels/test.tsv", "q1\td1\t1\n", 4, "judges the pair of row 2 again"),
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
