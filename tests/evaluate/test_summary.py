"""Whose verdict a run's summary is."""

import pytest
from helpers.report_runs import make_summary

from distill.evaluate.summary import read_current_summary, write_summary
from distill.store.run import Run


@pytest.fixture
def folder(tmp_path):
    """A run that is evaluated."""
    make(tmp_path)
    with Run(tmp_path) as run:
        inputs = [run.open_stage("base", {}), run.open_stage("student", {"seed": 0})]
        evaluation = run.open_stage("evaluation", {}, inputs)
        write_summary(evaluation.folder / "summary.json", make_summary())
        evaluation.finish()
    return tmp_path


def make(folder, seed=0, base=0):
    with Run(folder, "stale") as run:
        run.open_stage("base", {"layers": base} if base else {}).finish()
        run.open_stage("student", {"seed": seed}).finish()


def test_summary_is_of_the_evaluation_that_stands(folder):
    assert read_current_summary(folder) == make_summary()


@pytest.mark.parametrize("change", [{"seed": 1}, {"base": 2}])
def test_summary_of_another_student_or_base_is_none_until_it_is_back(folder, change):
    make(folder, **change)
    assert read_current_summary(folder) is None
    make(folder)
    assert read_current_summary(folder) == make_summary()


def test_evaluation_under_way_has_none(folder, tmp_path):
    with Run(folder, "stale") as run:
        inputs = [run.open_stage("base", {}), run.open_stage("student", {"seed": 0})]
        run.open_stage("evaluation", {"widths": [8]}, inputs)
    assert read_current_summary(folder) is None
    assert read_current_summary(tmp_path / "nowhere") is None
