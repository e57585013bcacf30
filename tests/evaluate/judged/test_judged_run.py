"""A run without labels: queries for held-out documents, judged by the LLM and then by a person."""

import csv
import json
import random
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.in_memory import InMemoryLLM
from helpers.overlap_llm import HELD_OUT_PROMPT, OverlapLLM

import distill
from distill.cli import cli
from distill.corpus.readers.beir import read_beir
from distill.errors import UserError
from distill.evaluate.judged.results import read_results
from distill.evaluate.judged.sheet import open_sheet, read_current_rankings
from distill.recipe import Recipe, override
from distill.store.tables import PASSAGES, QUERIES, read_rows

pytest.importorskip("mteb")
pytestmark = pytest.mark.slow

SETTINGS = {
    "corpus.held_out": 0.3,
    "evaluate.tasks": ["judged"],
    "evaluate.judged.queries": 12,
    "evaluate.judged.depth": 5,
}


def load(recipe_file: Path, **others: object) -> Recipe:
    recipe = distill.load_recipe(recipe_file)
    return override(recipe, SETTINGS | others)


@pytest.fixture(scope="module")
def first_llm() -> OverlapLLM:
    return OverlapLLM()


@pytest.fixture(scope="module")
def finished(recipe_file, tmp_path_factory, first_llm) -> Path:
    folder = tmp_path_factory.mktemp("judged") / "run"
    distill.run(load(recipe_file), folder, llm=first_llm)
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))


def judge(run: Path, *options: str, keys: str = "") -> str:
    done = CliRunner().invoke(cli, ["judge", str(run), *options], input=keys)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_held_out_passages_are_not_trained_on(finished):
    out = {row["passage_id"] for row in read_rows(PASSAGES, finished / "passages-held-out")}
    trained = {row["passage_id"] for row in read_rows(PASSAGES, finished / "passages")}
    seeds = {row["seed_id"] for row in read_rows(QUERIES, finished / "queries")}
    asked = {row["seed_id"] for row in read_rows(QUERIES, finished / "queries-held-out")}
    assert out.isdisjoint(trained)
    assert seeds <= trained
    assert asked <= out


def test_held_out_queries_are_written_after_other_prompts_and_examples(first_llm):
    held_out = [prompt for prompt in first_llm.asked if HELD_OUT_PROMPT in prompt]
    assert 0 < len(held_out) <= 18
    assert "Sea otters hold hands" not in "".join(held_out)
    assert len(first_llm.asked) > len(held_out)


def test_pool_is_a_retrieval_task_that_the_summary_holds(finished):
    pool = read_beir(finished / "judged")
    assert len(pool.queries) <= 12
    assert {grade for judged in pool.qrels.values() for grade in judged.values()} <= {0, 1, 2, 3}
    rows = (finished / "judged" / "judgements.jsonl").read_text().splitlines()
    assert len(rows) == sum(map(len, pool.qrels.values()))
    assert json.loads(rows[0]).keys() >= {"relevance", "judge", "prompt"}
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["tasks"].keys() == {"judged"}
    assert summary["models"]["student"]["tasks"]["judged"] > 0


def test_results_hold_seed_ranks_of_every_system_and_no_interval(finished):
    results = read_results(finished)
    assert results.systems.keys() == {
        "base", "student", "teacher", "bm25",
        "base + bm25", "student + bm25", "teacher + bm25",
    }  # fmt: skip
    assert results.systems["bm25"].seed_recall > 0.5
    assert 0 < results.systems["bm25"].seed_mrr <= 1
    assert results.reference == "teacher"
    assert results.difference is None


def test_report_and_terminal_say_that_the_judge_is_unverified(finished):
    assert "UNVERIFIED" in (finished / "report.md").read_text()
    assert "UNVERIFIED" in (finished / "report.html").read_text()


def test_queries_of_a_log_are_judged_and_none_of_them_is_trained_on(
    recipe_file, finished, tmp_path, first_llm
):
    """And none is written: the log need not be trained on."""
    draw = random.Random(3)
    texts = [row["text"].split() for row in read_rows(PASSAGES, finished / "passages-held-out")]
    asked = sorted({" ".join(draw.sample(words, 3)) for words in texts for _ in range(4)})
    (tmp_path / "asked.txt").write_text("\n".join(asked))
    log = {"evaluate.judged.source": "log", "generate.log.path": str(tmp_path / "asked.txt")}
    llm = OverlapLLM()
    distill.run(load(recipe_file, **log), tmp_path / "run", llm=llm)
    judged = read_beir(tmp_path / "run" / "judged")
    assert 0 < len(judged.queries) <= 12
    assert set(judged.queries.values()) <= set(asked)
    assert not [prompt for prompt in llm.asked if HELD_OUT_PROMPT in prompt]
    results = read_results(tmp_path / "run")
    assert {of.seed_recall for of in results.systems.values()} == {None}
    report = (tmp_path / "run" / "report.md").read_text()
    assert f"On {results.queries} queries that were held out of the log" in report
    assert "was written for is among" not in report


def test_same_command_judges_nothing_again(run, recipe_file):
    llm = OverlapLLM()
    before = (run / "judged" / "judgements.jsonl").read_bytes()
    distill.run(load(recipe_file), run, llm=llm)
    assert (llm.scored, llm.asked) == (0, [])
    assert (run / "judged" / "judgements.jsonl").read_bytes() == before


def test_pool_that_was_lost_is_made_again_without_the_llm(run, recipe_file):
    before = (run / "judged" / "judgements.jsonl").read_bytes()
    shutil.rmtree(run / "judged")
    llm = OverlapLLM()
    distill.run(load(recipe_file), run, llm=llm)
    assert llm.scored == 0
    assert (run / "judged" / "judgements.jsonl").read_bytes() == before


def test_later_student_is_measured_on_the_same_pool_until_that_is_moved_away(run, recipe_file):
    before = (run / "judged" / "judgements.jsonl").read_bytes()
    other = load(recipe_file, **{"train.epochs": 1, "train.seed": 5})
    distill.run(other, run, "stale", llm=OverlapLLM())
    assert (run / "judged" / "judgements.jsonl").read_bytes() == before
    assert 0 <= read_results(run).systems["student"].unjudged < 1
    (run / "judged").rename(run.parent / "judged-before")
    distill.run(other, run, llm=OverlapLLM())
    judged = {(of["query_id"], of["passage_id"]) for of in read_rows_of_pool(run)}
    rankings = read_current_rankings(run)["student"]
    assert all((query, id_) in judged for query, ids in rankings.items() for id_ in ids[:5])


def read_rows_of_pool(run: Path) -> list[dict]:
    lines = (run / "judged" / "judgements.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_person_judges_in_the_terminal_stops_and_goes_on(run):
    output = judge(run, "--pairs", "20", keys="y\nn\ns\nq\n")
    assert "a person has judged 2 of its pairs" in output
    judge(run, "--pairs", "20", keys="y\n" * 17)
    sheet = open_sheet(run)
    assert len(sheet.verdicts) == 20
    assert list(sheet.verdicts.values())[:3] == ["yes", "no", "skip"]
    results = read_results(run)
    assert results.verdicts == 19
    assert results.difference.low < results.difference.high
    assert "95 % interval" in judge(run, "--pairs", "20")


def test_pool_made_again_with_other_pairs_asks_for_those_alone_and_old_verdicts_stay(run):
    judge(run, keys="y\ny\nn\nq\n")
    (old,) = (run / "verdicts").glob("*/verdicts.jsonl")
    before = old.read_bytes()
    judgements = run / "judged" / "judgements.jsonl"
    judgements.write_text("".join(judgements.read_text("utf-8").splitlines(True)[1:]), "utf-8")
    results = read_results(run)
    assert results.verdicts == 0
    judge(run, keys="y\nq\n")
    results = read_results(run)
    assert results.verdicts == 4  # three pairs that were judged before, and a new one
    assert old.read_bytes() == before


def test_csv_file_gives_the_same_verdicts_as_the_terminal(run, finished, tmp_path):
    file = tmp_path / "pairs.csv"
    assert "written" in judge(run, "--csv", str(file), "--pairs", "15")
    with file.open(newline="", encoding="utf-8-sig") as source:
        rows = list(csv.DictReader(source))
    assert len(rows) == 15
    for number, row in enumerate(rows):
        row["verdict"] = "yes" if number % 3 == 0 else "No"
    write_csv(file, rows)
    judge(run, "--csv", str(file))
    by_csv = read_results(run)
    other = Path(shutil.copytree(finished, tmp_path / "other", symlinks=True))
    judge(other, "--pairs", "15", keys="".join("y\n" if n % 3 == 0 else "n\n" for n in range(15)))
    assert read_results(other).difference == by_csv.difference


def test_cleared_cell_takes_its_verdict_back_and_no_other(run, tmp_path):
    file = tmp_path / "pairs.csv"
    judge(run, "--csv", str(file), "--pairs", "15")
    with file.open(newline="", encoding="utf-8-sig") as source:
        rows = list(csv.DictReader(source))
    judge(run, "--pairs", "15", keys="y\nq\n")  # of the first pair, whose cell is empty
    for row in rows[1:5]:
        row["verdict"] = "no"
    write_csv(file, rows)
    judge(run, "--csv", str(file))
    assert len(open_sheet(run).verdicts) == 5
    rows[2]["verdict"] = ""
    write_csv(file, rows)
    judge(run, "--csv", str(file))
    judge(run, "--csv", str(file))
    verdicts = open_sheet(run).verdicts
    assert len(verdicts) == 4
    assert verdicts[rows[0]["query_id"], rows[0]["passage_id"]] == "yes"
    assert (rows[2]["query_id"], rows[2]["passage_id"]) not in verdicts


@pytest.mark.bad_input("judge", "input that ends, without a terminal", "refused, --csv is named")
def test_csv_is_named_without_a_terminal_and_verdicts_are_kept(run):
    with pytest.raises(UserError, match="ended before pair 3 had an answer") as fault:
        CliRunner().invoke(cli, ["judge", str(run)], input="y\nn\n", catch_exceptions=False)
    assert "--csv FILE" in str(fault.value)
    assert len(open_sheet(run).verdicts) == 2


def write_csv(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.bad_input("judge", "a CSV with an unknown pair or verdict", "refused, nothing taken")
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("key", "p0002-none", "row 2: 'p0002-none' is no pair of this run's pool"),
        ("verdict", "perhaps", "row 2: 'perhaps' is no verdict"),
    ],
)
def test_csv_with_an_unknown_pair_or_verdict(run, tmp_path, column, value, message):
    file = tmp_path / "pairs.csv"
    distill.judge(run, csv=file, pairs=12)
    with file.open(newline="", encoding="utf-8-sig") as source:
        rows = [row | {"verdict": "yes"} for row in csv.DictReader(source)]
    rows[1][column] = value
    write_csv(file, rows)
    with pytest.raises(UserError, match=message):
        distill.judge(run, csv=file)
    assert open_sheet(run).verdicts == {}


@pytest.mark.bad_input("judge", "an LLM that judges all pairs alike", "refused, the student stays")
def test_llm_that_judges_all_alike(recipe_file, tmp_path):
    class Alike(OverlapLLM):
        def score(self, requests):
            return InMemoryLLM.score(self, requests)

    with pytest.raises(UserError, match=r"all \d+ pairs have the score"):
        distill.run(load(recipe_file), tmp_path / "run", llm=Alike())
    assert (tmp_path / "run" / "student" / "config.json").exists()


@pytest.mark.bad_input("judge", "a run without a judged pool", "refused")
def test_run_without_a_pool(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="has no judged pool"):
        distill.judge(tmp_path / "run")
