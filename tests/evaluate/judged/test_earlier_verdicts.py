"""Verdicts on an earlier pool of a run: nobody judges the same query and passage twice, and the
interval is the one that judging twice would give."""

import csv
import shutil
from pathlib import Path

import pytest
from helpers.judged_runs import QUERIES, is_answer, write_judged_run

import distill
from distill.evaluate.judged.collection import PairId
from distill.evaluate.judged.results import JudgedResults
from distill.evaluate.judged.sheet import open_sheet


def make_pool(*others: str) -> tuple[dict[str, dict[str, list[str]]], dict[PairId, float]]:
    """The student has each query's answer first, its base one of the others."""
    answers = {query: [f"answer-{query}"] for query in QUERIES}
    ranked = {query: [f"{others[n % len(others)]}-{query}"] for n, query in enumerate(QUERIES)}
    listed = [(query, id_) for of in (answers, ranked) for query, ids in of.items() for id_ in ids]
    return {"student": answers, "base": ranked}, dict.fromkeys(listed, 0.4)


FIRST, SECOND = make_pool("other"), make_pool("other", "new")
"""In half of the queries the second has another passage beside the answer."""


class Person:
    """Answers, and notes what was asked."""

    def __init__(self) -> None:
        self.asked: list[PairId] = []

    def __call__(self, _, pair) -> str:
        self.asked.append((pair.query_id, pair.passage_id))
        return "yes" if is_answer(self.asked[-1]) else "no"


@pytest.fixture
def anew(tmp_path) -> Path:
    """A run whose second pool nobody has judged."""
    return write_judged_run(tmp_path / "anew", *SECOND)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run with 50 verdicts on its first pool, whose second pool is there now."""
    folder = write_judged_run(tmp_path / "run", *FIRST)
    distill.judge(folder, Person(), pairs=50)
    write_second_pool(folder)
    return folder


def write_second_pool(folder: Path) -> None:
    for part in folder.iterdir():
        if part.is_dir() and part.name != "verdicts":
            shutil.rmtree(part)
    write_judged_run(folder, *SECOND)


def judge(run: Path, pairs: int = 50) -> tuple[list[PairId], JudgedResults]:
    person = Person()
    return person.asked, distill.judge(run, person, pairs=pairs)


def test_pair_of_an_earlier_pool_is_not_asked_again_and_the_interval_is_that_of_asking(run, anew):
    asked, results = judge(run)
    all_asked, expected = judge(anew)
    assert results == expected
    assert len(all_asked) == 50
    known = [row for row in all_asked if row not in asked]
    assert 10 < len(known) < 50
    assert not any(passage.startswith("new") for _, passage in known)


def test_earlier_verdicts_count_only_as_far_as_the_person_has_come(run):
    asked: list[object] = []

    def stop_at_the_third(_, pair):
        asked.append(pair)
        return None if len(asked) == 3 else "no"

    distill.judge(run, stop_at_the_third)
    sheet = open_sheet(run)
    judged = [(pair.query_id, pair.passage_id) in sheet.verdicts for pair in sheet.pairs]
    assert judged == sorted(judged, reverse=True)  # none behind the pair where the person stopped
    assert sum(judged) > 2


def test_passage_whose_text_has_changed_is_asked_again(run):
    corpus = run / "judged" / "corpus.jsonl"
    corpus.write_text(corpus.read_text("utf-8").replace("A passage", "Another one"), "utf-8")
    asked, _ = judge(run)
    assert len(asked) == 50


def test_skipped_pair_of_an_earlier_pool_is_asked_again(tmp_path):
    folder = write_judged_run(tmp_path / "run", *FIRST)
    distill.judge(folder, lambda *_: "skip", pairs=50)
    write_second_pool(folder)
    assert len(judge(folder)[0]) == 50


@pytest.mark.parametrize("filled", [0, 20, 50])
def test_file_holds_earlier_verdicts_which_count_as_far_as_it_is_filled_in(run, tmp_path, filled):
    file, known = tmp_path / "pairs.csv", set[PairId]()
    distill.judge(run, csv=file, pairs=50)
    with file.open(newline="", encoding="utf-8-sig") as source:
        rows = list(csv.DictReader(source))
    own = []
    for number, row in enumerate(rows):
        pair = (row["query_id"], row["passage_id"])
        if row["verdict"]:
            known.add(pair)
        elif number < filled:
            row["verdict"] = "yes" if is_answer(pair) else "no"
            own.append(number)
    assert 10 < len(known) < 50
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    distill.judge(run, csv=file)
    empty = next((n for n, row in enumerate(rows) if not row["verdict"]), len(rows))
    come = max([empty, *(number + 1 for number in own)])
    assert open_sheet(run).verdicts.keys() == {
        (row["query_id"], row["passage_id"]) for row in rows[:come]
    }
