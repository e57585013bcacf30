"""What the Data tab tells of the way from passages to examples."""

from helpers.report_runs import write_run

from distill.report.html import write_html
from distill.report.markdown.report import write_report
from distill.report.sections.data_funnel import make_funnel
from distill.store.run import Run

EXAMPLES = {"rows": 100, "counts": {}, "figures": {}}


def tabulate(**scores):
    manifest = EXAMPLES | {"figures": {"scores": scores}}
    return make_funnel({"examples": manifest}).relevance


def test_judged_relevance_has_quantiles_of_positives_and_of_others():
    grid = tabulate(
        rc={"edges": [0.0, 1.0, 2.0], "positive": [0, 100], "others": [100, 0]},
        cross_encoder={"edges": [0.0, 10.0], "positive": [10], "others": [0]},
    )
    assert grid.header == ["judged by", "of", "5%", "25%", "median", "75%", "95%"]
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["rc", "positives", "1.05", "1.25", "1.5", "1.75", "1.95"],
        ["rc", "other candidates", "0.05", "0.25", "0.5", "0.75", "0.95"],
        ["cross encoder", "positives", "0.5", "2.5", "5", "7.5", "9.5"],
    ]


def test_run_without_judgements_has_no_such_table():
    assert make_funnel({"examples": EXAMPLES}).relevance is None


def test_stages_that_other_settings_left_behind_are_not_told(tmp_path):
    folder = write_run(tmp_path / "run")
    with Run(folder) as run:
        counts = {"by title": 200, "by sentence": 0, "searched passages": 900}
        run.open_stage("known-item", {}).finish(counts=counts)
        run.open_stage("examples-brainstorm", {}).finish(rows=7)
        earlier = run.open_stage("candidates", {"top_k": 8})
        earlier.finish(rows=1)
        learnt = {"held_out_lists": 40, "pairs_in_order": 0.8, "same_first": 0.5, "known_pairs": 0}
        run.open_stage("judge", {}, [earlier]).finish(figures=learnt)
        run.open_stage("candidates", {"top_k": 4}, replaces=True).finish(rows=1)
    reports = [write(folder).read_text("utf-8") for write in (write_html, write_report)]
    for text in reports:
        assert "judgements-ql" in text
        assert "examples-brainstorm" not in text
        assert "Brainstormed examples" not in text
        assert "known-item" not in text
        assert "40 lists" not in text


def test_reports_show_judged_relevance(tmp_path):
    folder = write_run(tmp_path / "run")
    page = write_html(folder).read_text(encoding="utf-8")
    assert "<caption>Judged relevance of the candidates</caption>" in page
    assert "| ql | other candidates |" in write_report(folder).read_text(encoding="utf-8")
