"""Tables of rankings beside the main score."""

from helpers.report_runs import make_summary

from distill.evaluate.samples.query_groups import DOCUMENT_LENGTH
from distill.report.plots.recall import draw_recall
from distill.report.sections.rank_details import (
    list_recalls,
    tabulate_breakdowns,
    tabulate_details,
)


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


def test_groups_of_queries_have_the_difference_from_the_teacher_with_its_interval():
    found = make_summary()
    gap = {"difference": -0.1, "low": -0.15, "high": -0.05}
    groups = [
        {"group": "short: 3 words", "items": 20, "scores": {"student": 0.4}, "from_teacher": gap},
        {"group": "long: 9 words", "items": 1, "scores": {"student": 0.5}},
    ]
    found["breakdowns"] = {"mine": [{"by": "length", "groups": groups}]}
    (grid,) = tabulate_breakdowns(found)
    assert grid.header[-1] == "student − teacher"
    first, last = (row[-1] for row in grid.rows)
    assert (first.text, first.note) == ("−0.1000", "−0.1500 to −0.0500")
    assert last.text == "–"


def test_groups_by_length_of_the_documents_have_a_caption_of_their_own():
    found = make_summary()
    groups = [{"group": f"{n} words", "items": 2, "scores": {"student": 0.4}} for n in (30, 90)]
    found["breakdowns"] = {"mine": [{"by": DOCUMENT_LENGTH, "groups": groups}]}
    (grid,) = tabulate_breakdowns(found)
    assert grid.caption == "nDCG@10 on mine by length of the documents that answer the query"
    assert grid.header[:2] == ["documents", "queries"]


def test_recall_by_depth_is_drawn_for_student_teacher_and_bm25():
    found = make_summary()
    recall = {"recall_at_1": 0.2, "recall_at_20": 0.75, "mrr_at_10": 0.4}
    for role in ("base", "student", "teacher"):
        found["models"][role]["details"] = {"mine": recall}
    assert list_recalls(found) == {"student": {1: 0.2, 20: 0.75}, "teacher": {1: 0.2, 20: 0.75}}
    drawing = draw_recall(list_recalls(found))
    assert "student 0.200 at 1 to 0.750 at 20" in drawing
    assert drawing == draw_recall(list_recalls(found))


def test_recall_at_one_depth_alone_is_not_drawn():
    assert draw_recall({"student": {10: 0.5}}) is None


def test_summary_of_before_has_neither():
    assert list_recalls(make_summary()) == {}
    assert tabulate_details(make_summary()) is None
    assert tabulate_breakdowns(make_summary()) == []
