"""The verdict of a run whose LLM a person has checked, and of one whose LLM nobody has."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.judged_runs import is_answer, write_judged_run

import distill
from distill.cli import cli
from distill.errors import UserError
from distill.evaluate.judged.sheet import JudgingSheet, open_sheet
from distill.export.export import refuse_worse_student
from distill.report.html import write_html
from distill.report.markdown.report import write_report


@pytest.fixture
def run(tmp_path) -> Path:
    return write_judged_run(tmp_path / "run")


def judge(run: Path, count: int) -> None:
    def ask(sheet: JudgingSheet, pair):
        return "yes" if is_answer((pair.query_id, pair.passage_id)) else "no"

    distill.judge(run, ask, pairs=count)


def test_verdict_without_a_person_is_the_llms_and_the_judge_is_unverified(run):
    summary = distill.open_run(run).summary
    assert (summary["verdict"]["kind"], summary["verdict"]["against"]) == ("worse", "base")
    assert summary["verdict"]["rests_on"] == {"judged": "llm"}
    assert "person_verdicts" not in summary["verdict"]
    check = summary["judge_check"]
    assert (check["verified"], check["verdicts"], check["agreement"]) == (False, 0, None)
    assert check["differences"] == {}
    with pytest.raises(UserError, match="worse than its base"):
        refuse_worse_student(run, None)


def test_persons_verdicts_turn_the_verdict_of_a_wrong_llm(run):
    judge(run, 60)
    summary = json.loads((run / "summary.json").read_text())
    verdict = summary["verdict"]
    assert (verdict["kind"], verdict["against"]) == ("better", "base")
    assert (verdict["rests_on"], verdict["person_verdicts"]) == ({"judged": "llm and person"}, 60)
    assert (verdict["advice"], verdict["system"]) == ("student", "student")
    check = summary["judge_check"]
    assert (check["verified"], check["verdicts"], check["agreement"]) == (True, 60, 0.0)
    assert check["differences"]["student - base"]["low"] > 0
    assert verdict["comparisons"]["base"]["low"] == check["differences"]["student - base"]["low"]
    assert distill.open_run(run).summary["verdict"] == verdict
    refuse_worse_student(run, None)


def test_reports_are_written_anew_and_say_what_the_verdict_rests_on(run):
    write_report(run)
    write_html(run)
    assert "first let a person check" in (run / "report.md").read_text()
    judge(run, 60)
    for report in ("report.md", "report.html"):
        text = (run / report).read_text().replace("&#39;", "'")
        assert "By an LLM's judgments and 60 verdicts of a person: Ship the student" in text
        assert "by 60 verdicts of a person and the LLM's on 40 queries" in text
        assert "first let a person check" not in text
        assert "lets a person check" not in text
        assert "UNVERIFIED" not in text


def test_handful_of_verdicts_leaves_the_llms_verdict(run):
    judge(run, 5)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["verdict"]["kind"] == "worse"
    assert (summary["judge_check"]["verified"], summary["judge_check"]["verdicts"]) == (False, 5)


def test_verdicts_that_are_taken_back_give_the_llms_verdict_back(run):
    judge(run, 60)
    sheet = open_sheet(run)
    sheet.verdicts.clear()
    sheet.save()
    assert distill.open_run(run).summary["verdict"]["kind"] == "worse"


def test_pairs_that_an_earlier_version_drew_leave_the_verdict_and_tell_student_and_teacher(run):
    judge(run, 60)
    next((run / "verdicts").glob("*/drawn-for.json")).unlink()
    summary = distill.open_run(run).summary
    assert summary["judge_check"]["differences"].keys() == {"student - teacher"}
    assert summary["verdict"]["rests_on"] == {"judged": "llm"}
    write_report(run)
    assert "which tell student minus teacher alone" in (run / "report.md").read_text()


def test_command_says_the_new_verdict_and_what_it_has_written(run):
    keys = "".join(
        "y\n" if is_answer((pair.query_id, pair.passage_id)) else "n\n"
        for pair in open_sheet(run).pairs[:60]
    )
    done = CliRunner().invoke(cli, ["judge", str(run), "--pairs", "60"], input=keys)
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    assert "60 verdicts of a person: Ship the student: the student is better than the base" in words
    assert "written anew: summary.json and reports in" in words


def test_verdict_by_a_person_sets_the_exit_code(run):
    from distill.cli.verdict import exit_on_verdict

    with pytest.raises(SystemExit):
        exit_on_verdict(distill.open_run(run).summary, "worse")
    judge(run, 60)
    exit_on_verdict(distill.open_run(run).summary, "not-better")
