"""A judging sheet that a spreadsheet has written: rows, ids and texts as it leaves them."""

import csv
from pathlib import Path

import pytest
from helpers.judged_runs import write_judged_run

import distill
from distill.errors import UserError
from distill.evaluate.judged.sheet import open_sheet

IDS = ["0012", "1-2", "1234567890123456", "=7"]


@pytest.fixture
def run(tmp_path) -> Path:
    ranked = {query: [f"{query}.{n}" for n in range(3)] for query in IDS}
    pool = {(query, id_): 0.5 for query, ids in ranked.items() for id_ in ids}
    return write_judged_run(tmp_path / "run", {"student": ranked, "base": ranked}, pool)


@pytest.fixture
def file(run, tmp_path) -> Path:
    distill.judge(run, csv=tmp_path / "pairs.csv", pairs=12)
    return tmp_path / "pairs.csv"


def read_file(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8-sig") as source:
        return [row | {"verdict": "yes"} for row in csv.DictReader(source)]


def write_file(file: Path, rows: list[dict[str, str]], end: str = "") -> None:
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
        target.write(end)


@pytest.mark.parametrize("end", [",,,,,\r\n,,,,,\r\n", ",,\r\n", " ,,,,, \r\n"])
def test_empty_rows_at_the_end_are_passed_over(run, file, end):
    write_file(file, read_file(file), end)
    distill.judge(run, csv=file)
    assert len(open_sheet(run).verdicts) == 12


def test_ids_that_a_spreadsheet_rewrites_do_not_matter(run, file):
    rows = read_file(file)
    for row in rows:
        row["query_id"] = {"0012": "12", "1-2": "01.02.2026"}.get(row["query_id"], "1.23457E+15")
        row["passage_id"] = row["passage_id"].lstrip("0'=")
    write_file(file, rows)
    distill.judge(run, csv=file)
    assert {query for query, _ in open_sheet(run).verdicts} == set(IDS)


def test_text_that_begins_like_a_formula_is_written_as_text(tmp_path):
    ranked = {"=1+1": ["-a", "@b", "+c", "d"]}
    pool = {("=1+1", id_): 0.5 for id_ in ranked["=1+1"]}
    run = write_judged_run(tmp_path / "run", {"student": ranked, "base": ranked}, pool)
    sheet = open_sheet(run)
    corpus = run / "judged" / "corpus.jsonl"
    corpus.write_text(corpus.read_text("utf-8").replace("A passage, ", ""), "utf-8")
    distill.judge(run, csv=tmp_path / "pairs.csv", pairs=10)
    rows = read_file(tmp_path / "pairs.csv")
    assert sorted(row["passage"] for row in rows) == ["'+c.", "'-a.", "'@b.", "d."]
    assert {row["query_id"] for row in rows} == {"'=1+1"}
    write_file(tmp_path / "pairs.csv", rows)
    distill.judge(run, csv=tmp_path / "pairs.csv")
    assert open_sheet(run).verdicts.keys() == {(p.query_id, p.passage_id) for p in sheet.pairs}


def test_file_of_an_earlier_version_names_pairs_by_their_ids(run, file):
    rows = [
        {"query_id": pair.query_id, "passage_id": pair.passage_id, "verdict": "no"}
        for pair in open_sheet(run).pairs[:5]
    ]
    write_file(file, rows)
    distill.judge(run, csv=file)
    assert [*open_sheet(run).verdicts.values()] == ["no"] * 5


def test_file_of_another_pool_is_refused(run, file, tmp_path):
    ranked = {query: [f"{query}.{n + 3}" for n in range(3)] for query in IDS}
    pool = {(query, id_): 0.5 for query, ids in ranked.items() for id_ in ids}
    other = write_judged_run(tmp_path / "other", {"student": ranked, "base": ranked}, pool)
    write_file(file, read_file(file))
    with pytest.raises(UserError, match="is no pair of this run's pool"):
        distill.judge(other, csv=file)
