"""Tables of rankings beside the main score."""

from helpers.report_runs import make_summary

from distill.report.sections.rank_details import tabulate_breakdowns, tabulate_details


def test_measures_of_rankings_are_averaged_over_their_tasks():
    found = make_summary()
    details = {"hit_rate_at_1": 0.25, "recall_at_1": 0.2, "recall_at_20": 0.75}
    found["models"]["student"]["details"] = {"mine": details}
    grid = tabulate_details(found)
    assert grid.header == ["model", "hit@1", "recall@1", "recall@20"]
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["student", "0.2500", "0.2000", "0.7500"]
    ]


def test_groups_of_queries_have_their_number():
    found = make_summary()
    groups = [
        {"group": "short: 3 words", "items": 20, "scores": {"base": 0.3, "student": 0.4}},
        {"group": "long: 4 to 9 words", "items": 30, "scores": {"base": 0.3, "student": 0.5}},
    ]
    found["breakdowns"] = {"mine": [{"by": "length", "groups": groups}]}
    (grid,) = tabulate_breakdowns(found)
    assert grid.caption == "nDCG@10 on mine by length of the query"
    assert grid.header == ["length", "queries", "base model", "student"]
    assert [cell.text for cell in grid.rows[1]] == ["long: 4 to 9 words", "30", "0.3000", "0.5000"]


def test_summary_of_before_has_neither():
    assert tabulate_details(make_summary()) is None
    assert tabulate_breakdowns(make_summary()) == []
