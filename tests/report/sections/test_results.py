"""How sure the results are."""

from helpers.report_runs import make_summary

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


def test_comparisons_say_what_they_could_have_shown():
    grid = make_results(make_summary() | {"verdict": VERDICT}).comparisons
    assert "at most 0.01 worse" in grid.header
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["base model", "unclear", "yes", "0.021", "50"],
        ["teacher", "unclear", "–", "–", "–"],
    ]


def test_summary_of_before_has_no_such_table():
    assert make_results(make_summary()).comparisons is None


def test_retention_has_its_interval_where_it_is_known():
    kept = {"share": 0.8421, "low": 0.7912, "high": 0.9034, "items": 60}
    told = [make_results(make_summary() | {"retention": of}).headline for of in (kept, None)]
    notes = [{what: note for _, what, note in tiles}["of the teacher kept"] for tiles in told]
    assert notes == ["79.1% to 90.3% (95 %, 60 items)", ""]


def test_score_has_the_interval_of_its_queries():
    found = make_summary()
    found["unaveraged"] = ["pairs"]
    values = {f"test/default/q{n}": {"student": 0.2 + 0.4 * (n % 2)} for n in range(60)}
    told = [make_results(found, items).headline[0] for items in ({"mine": values}, {}, None)]
    assert told[0][2].endswith("(95 %, 60 items)")
    low, high = (float(bound) for bound in told[0][2].split(" (")[0].split(" to "))
    assert 0.3 < low < 0.4 < high < 0.5
    assert [note for _, _, note in told[1:]] == ["", ""]


def test_score_over_a_task_without_single_values_has_no_interval():
    values = {f"test/default/q{n}": {"student": 0.5} for n in range(60)}
    assert make_results(make_summary(), {"mine": values}).headline[0][2] == ""


def test_speed_is_reported_with_its_spread_over_rounds():
    found = make_summary()
    found["models"]["student"] |= {"speed_rounds": [90.0, 100.0, 120.0]}
    found["models"]["teacher"] |= {"speed_rounds": [50.0, 50.0, 40.0]}
    section = make_results(found)
    notes = {what: note for _, what, note in section.headline}
    assert notes["the teacher's speed"] == "1.80× to 3.00× in 3 rounds, in turns"
    column = section.models.header.index("texts/s")
    cells = {row[0].text: row[column].note for row in section.models.rows}
    assert (cells["student"], cells["base model"]) == ("90.0 to 120.0", "")


def test_teacher_whose_speed_was_not_measured_leaves_the_figure_out():
    found = make_summary()
    found["models"]["student"] |= {"speed_rounds": [90.0, 100.0, 120.0]}
    found["models"]["teacher"] |= {"texts_per_second": None}
    assert "the teacher's speed" not in {what for _, what, _ in make_results(found).headline}


def test_score_has_the_same_decimals_in_headline_and_tables():
    found = make_summary()
    student = numbers.format_score(found["models"]["student"]["score"])
    section = make_results(found)
    assert section.headline[0][0] == student
    rows = {row[0].text: row[1].text for row in section.models.rows}
    assert rows["student"] == student


def test_hybrids_stand_in_the_table_of_all_models_and_not_in_the_narrow_one():
    found = make_summary()
    found["models"] = {role: found["models"][role] for role in ("base", "student", "teacher")}
    of = found["models"]["base"] | {"baseline": True, "tasks": {"mine": 0.4}}
    found["models"]["student + bm25"] = of
    section = make_results(found)
    assert "student + BM25" not in section.tasks.header
    assert section.all_tasks is not None
    assert "student + BM25" in section.all_tasks.header
