"""How sure the results are."""

from helpers.report_runs import summary

from distill.report import numbers
from distill.report.sections.results import make_results

VERDICT = {
    "kind": "unclear",
    "against": "base",
    "advice": "base",
    "system": "base",
    "margin": 0.01,
    "comparisons": {
        "base": {
            "kind": "unclear",
            "difference": 0.01,
            "low": -0.005,
            "high": 0.025,
            "items": 50,
            "not_worse": True,
            "detectable": 0.0214,
        },
        "teacher": {
            "kind": "unclear",
            "difference": -0.1,
            "low": None,
            "high": None,
            "items": None,
            "not_worse": None,
            "detectable": None,
        },
    },
}


def test_each_comparison_says_what_it_could_have_shown():
    grid = make_results(summary() | {"verdict": VERDICT}).comparisons
    assert "at most 0.01 worse" in grid.header
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["base model", "unclear", "yes", "0.021", "50"],
        ["teacher", "unclear", "–", "–", "–"],
    ]


def test_a_summary_of_before_has_no_such_table():
    assert make_results(summary()).comparisons is None


def test_what_is_kept_has_its_interval_where_items_are_known():
    values = {
        task: {f"test/default/{n}": {"student": n / 40, "teacher": 0.5} for n in range(30)}
        for task in ("mine", "pairs")
    }
    tiles = {what: note for _, what, note in make_results(summary(), values).headline}
    assert tiles["of the teacher kept"].endswith("(95 %, 60 items)")
    # A task without single values: the share is of a mean that has no interval.
    del values["pairs"]
    tiles = {what: note for _, what, note in make_results(summary(), values).headline}
    assert tiles["of the teacher kept"] == ""


def test_decimals_are_those_that_the_interval_warrants():
    def of(low, high):
        return numbers.format_interval({"low": low, "high": high})

    assert of(-0.12, 0.05) == "−0.12 to +0.05"
    assert of(-0.0512, 0.0141) == "−0.051 to +0.014"
    assert of(0.0012, 0.0051) == "+0.0012 to +0.0051"
    assert of(None, None) == ""


def test_hybrids_stand_in_the_table_of_all_models_and_not_in_the_narrow_one():
    found = summary()
    found["models"] = {role: found["models"][role] for role in ("base", "student", "teacher")}
    of = found["models"]["base"] | {"baseline": True, "tasks": {"mine": 0.4}}
    found["models"]["student + bm25"] = of
    section = make_results(found)
    assert "student + BM25" not in section.tasks.header
    assert section.all_tasks is not None
    assert "student + BM25" in section.all_tasks.header
