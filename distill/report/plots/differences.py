"""The student's difference from another model on each task, with its interval."""

from collections.abc import Collection, Mapping
from typing import Any

from markupsafe import Markup

from distill.evaluate.summary import Difference, Differences
from distill.report.plots.svg import MUTED, SERIES, apply_style, make_figure, to_svg

_MARKERS = "osD^vPX<>"


def draw_differences(pairs: Mapping[str, Differences], averaged: Collection[str]) -> Markup | None:
    """Draw a row a task and one for the mean of all, a mark a pair; None where nothing is known.

    Args:
        pairs: a summary's differences of the student, by the other model.
        averaged: the tasks that the mean is over; it has a row where they are several.
    """
    tasks = list(dict.fromkeys(task for pair in pairs.values() for task in pair["tasks"]))
    if not tasks:
        return None
    name_mean = "mean of all tasks" if len(averaged) == len(tasks) else "mean of the others"
    rows = [*tasks, name_mean] if len(averaged) > 1 else tasks
    with apply_style("differences"):
        figure = make_figure(8.5, 1.3 + 0.3 * len(rows) * max(1.0, 0.55 * len(pairs)))
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, linewidth=1)
        for number, (name, pair) in enumerate(pairs.items()):
            by_row = list(pair["tasks"].values())
            # Of a search that lacks a task the mean is over the others, and so not that of the row.
            whole = all(pair["tasks"][task]["difference"] is not None for task in averaged)
            if len(averaged) > 1 and whole:
                by_row.append(pair["overall"])
            shift = (number - (len(pairs) - 1) / 2) * min(0.22, 0.8 / len(pairs))
            _draw(axes, by_row, f"student − {name}", number, shift)
        axes.set_yticks(range(len(rows)), rows)
        # From top to bottom; without room around it a single row would be cut at its marks.
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("difference of scores, 95 % interval")
        figure.legend(loc="outside lower center", ncols=3)
        return to_svg(figure, "Differences by task with intervals; the table has the values.")


def _draw(axes: Any, by_row: list[Difference], name: str, number: int, shift: float) -> None:
    colour, marker = SERIES[number % len(SERIES)], _MARKERS[number % len(_MARKERS)]
    label: str | None = name
    for row, of in enumerate(by_row):
        if of["difference"] is None:
            continue
        y = row + shift
        if of["low"] is not None and of["high"] is not None:
            axes.hlines(y, of["low"], of["high"], color=colour, linewidth=2, alpha=0.6)
        axes.scatter(of["difference"], y, 34, color=colour, marker=marker, label=label, zorder=3)
        label = None
