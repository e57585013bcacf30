"""Histograms of each ranker's scores: those of the chosen positives, and of all others."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from distill.report.plots.svg import SERIES, apply_style, join_panels, make_figure, to_svg


def draw_histograms(by_ranker: Mapping[str, Mapping[str, Sequence[float]]]) -> Markup | None:
    """Draw a panel a ranker, each kind of candidate as shares of its own number, for there are many
    more others than positives.

    Args:
        by_ranker: `edges` of the bins, and the numbers of `positive` and `others` in them.
    """
    if not by_ranker:
        return None
    return join_panels([_draw(ranker, of) for ranker, of in by_ranker.items()])


def _draw(ranker: str, of: Mapping[str, Sequence[float]]) -> Markup:
    name = ranker.replace("_", " ")
    with apply_style(f"histograms {ranker}"):
        figure = make_figure(3.4, 2.7)
        axes = figure.subplots()
        _draw_stairs(axes, of["positive"], of["edges"], SERIES[0], "positives")
        _draw_stairs(axes, of["others"], of["edges"], SERIES[1], "other candidates")
        axes.set_title(name, loc="left")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel("score")
        figure.legend(loc="outside lower center", ncols=2)
        return to_svg(figure, f"Scores of positives and of other candidates by {name}.")


def _draw_stairs(
    axes: Any, counts: Sequence[float], edges: Sequence[float], colour: str, label: str
) -> None:
    whole = max(1, sum(counts))
    shares = [count / whole for count in counts]
    axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
    axes.stairs(shares, edges, color=colour, linewidth=1.5, label=label)
