"""What the plots are made of."""

from helpers.report_runs import make_difference, make_summary

from distill.report.plots.curves import draw_curves
from distill.report.plots.differences import draw_differences
from distill.report.plots.histograms import draw_histograms
from distill.report.plots.pareto import draw_pareto, find_front
from distill.report.plots.scatter import draw_scatter


def test_front_is_what_no_other_beats_in_both():
    points = [(10.0, 0.9), (20.0, 0.8), (15.0, 0.7), (30.0, 0.8), (5.0, 0.9), (40.0, 0.1)]
    assert find_front(points, more_is_better=True) == [(10.0, 0.9), (30.0, 0.8), (40.0, 0.1)]
    assert find_front(points, more_is_better=False) == [(5.0, 0.9)]
    assert find_front([(1.0, 0.1), (2.0, 0.2)], more_is_better=False) == [(1.0, 0.1), (2.0, 0.2)]


def test_text_stays_text_and_takes_the_pages_colours():
    drawn = str(draw_pareto(make_summary()["models"], "nDCG@10"))
    assert ">student int8</text>" in drawn
    assert ">nDCG@10</text>" in drawn
    assert "var(--ink)" in drawn
    assert "#0" not in drawn.replace("url(#", "").replace('href="#', "")
    assert "font-family" not in drawn


def test_cost_that_one_model_alone_is_known_by_has_no_panel():
    models = make_summary()["models"]
    for name in ("base", "teacher"):
        models[name]["texts_per_second"] = None
    models["student int8"]["texts_per_second"] = 150.0
    for name in ("student", "student int8"):
        models[name]["bytes"] = None
    drawn = str(draw_pareto(models, "nDCG@10"))
    assert "texts per second" in drawn
    assert "size on disk" in drawn
    models["teacher"]["bytes"] = None
    assert "size on disk" not in str(draw_pareto(models, "nDCG@10"))


def test_plot_of_nothing_known_is_none():
    assert draw_pareto({"student": make_summary()["models"]["student"]}, "nDCG@10") is None
    assert draw_differences({}, []) is None
    assert draw_curves([{"step": 1, "loss": 0.3}]) is None
    assert draw_histograms({}) is None


def test_plots_share_no_id():
    pairs = {"teacher": {"overall": make_difference(0.1), "tasks": {"a": make_difference(0.1)}}}
    first = str(draw_differences(pairs, ["a"]))
    second = str(draw_curves([{"step": 1, "loss": 0.3}, {"step": 2, "loss": 0.2}]))
    ids = [part.split('"')[0] for part in (first + second).split(' id="')[1:]]
    assert ids
    assert len(ids) == len(set(ids))


def test_costs_within_a_hundredth_are_the_same():
    # A kilobyte more on disk does not push the better model off the front.
    assert find_front([(70.279, 0.5), (70.280, 0.7)], more_is_better=False) == [(70.280, 0.7)]
    assert find_front([(100.0, 0.7), (100.5, 0.5)], more_is_better=True) == [(100.0, 0.7)]


def test_cost_that_is_alike_in_all_models_has_no_panel():
    models = {role: make_summary()["models"][role] for role in ("base", "student", "teacher")}
    drawn = str(draw_pareto(models, "nDCG@10"))
    assert "index of" not in drawn
    assert "size on disk" in drawn


def test_scatter_counts_queries_on_either_side():
    items = {
        "mine": {
            "test/default/1": {"student": 0.9, "teacher": 0.5},
            "test/default/2": {"student": 0.1, "teacher": 0.5},
            "test/default/3": {"student": 0.1, "teacher": 0.5},
            "test/default/4": {"student": 1.0, "teacher": 1.0},
        },
        "pairs": {},
    }
    assert "better on 1 queries, worse on 2, alike on 1" in str(draw_scatter(items))
    assert draw_scatter({"mine": {"test/default/1": {"base": 1.0}}}) is None
