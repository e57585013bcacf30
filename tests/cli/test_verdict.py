"""Exit codes that a verdict asks for."""

import pytest
from click.testing import CliRunner
from helpers.report_runs import make_summary

from distill import api
from distill.cli import cli
from distill.cli.verdict import exit_on_verdict
from distill.recipe import load_recipe


def judged(kind):
    return make_summary() | {"verdict": {"kind": kind}}


@pytest.mark.parametrize(
    ("fail_if", "failing"),
    [(None, set()), ("worse", {"worse"}), ("not-better", {"worse", "level", "unclear"})],
)
def test_kinds_that_fail(fail_if, failing, capsys):
    for kind in ("better", "level", "unclear", "worse"):
        if kind not in failing:
            exit_on_verdict(judged(kind), fail_if)
            continue
        with pytest.raises(SystemExit) as ended:
            exit_on_verdict(judged(kind), fail_if)
        assert ended.value.code == 1
        assert f"The verdict is '{kind}'" in capsys.readouterr().err


def test_run_fails_on_request_after_it_has_said_where_the_student_is(recipe_file, monkeypatch):
    class Done:
        recipe = load_recipe(recipe_file)
        summary = judged("worse") | {"verdict": summary_verdict("worse")}
        del summary["models"]["student int8"]

    monkeypatch.setattr(api, "run", lambda *given: Done())
    words = ["run", str(recipe_file), "--run", "somewhere"]
    assert CliRunner().invoke(cli, words).exit_code == 0
    done = CliRunner().invoke(cli, [*words, "--fail-if", "worse"])
    assert done.exit_code == 1
    assert done.stdout.startswith("Ship the base model: ")
    assert "student: somewhere/student" in done.stdout


def summary_verdict(kind):
    empty = dict.fromkeys(("difference", "low", "high", "items", "not_worse", "detectable"))
    beside = {"base": {**empty, "kind": kind}}
    told = {"kind": kind, "against": "base", "advice": "base", "system": "base", "margin": 0.01}
    return {**told, "comparisons": beside}
