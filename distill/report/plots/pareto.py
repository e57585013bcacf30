"""Quality against what it costs: speed, size, and the index of a million passages."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from markupsafe import Markup

from distill.evaluate.summary import ModelFigures, format_role
from distill.report.plots.svg import (
    MUTED,
    PAPER,
    SERIES,
    apply_style,
    join_panels,
    make_figure,
    to_svg,
)

Cost = Literal["texts_per_second", "bytes", "index_bytes_per_million"]

_COSTS: dict[Cost, tuple[str, bool]] = {
    "texts_per_second": ("texts per second", True),
    "bytes": ("size on disk, MB", False),
    "index_bytes_per_million": ("index of 10⁶ passages, MB", False),
}
"""A model's figure: its axis, and whether more of it is better."""
_SAME = 0.01
"""Costs that differ by a smaller share are the same: a file of a kilobyte, or the noise of a
measurement, puts no model on the front."""
_MEGA = 1e6
_MARKERS = "oDs^vPX<>hdp"

Point = tuple[float, float]


def draw_pareto(models: Mapping[str, ModelFigures], quality: str) -> Markup | None:
    """Draw one panel for each cost in which two models or more differ by a hundredth; None where
    there is none. The line joins the models that no other is better than in both.

    Args:
        models: by role, as in a summary.
        quality: what the score is called.
    """
    costs = [key for key in _COSTS if _differ(_list_points(models, key))]
    if not costs:
        return None
    return join_panels([_draw(models, key, quality) for key in costs])


def _draw(models: Mapping[str, ModelFigures], key: Cost, quality: str) -> Markup:
    with apply_style(f"pareto {key}"):
        figure = make_figure(3.4, 3.6)
        axes = figure.subplots()
        _draw_panel(axes, models, key)
        axes.set_ylabel(quality)
        figure.legend(loc="outside lower center", ncols=2)
        names = ", ".join(format_role(role) for role in _list_points(models, key))
        description = f"{quality} of {names} against {_COSTS[key][0]}; the table has the values."
        return to_svg(figure, description)


def find_front(points: Sequence[Point], more_is_better: bool) -> list[Point]:
    """Return the points that no other is better than in both, cost and quality, by rising cost. Of
    points whose costs differ by less than a hundredth that of the best quality alone is among
    them."""
    sign = -1 if more_is_better else 1
    best: list[Point] = []
    for cost, quality in sorted(points, key=lambda p: (sign * p[0], -p[1])):
        if best and quality <= best[-1][1]:
            continue
        if best and abs(cost - best[-1][0]) < _SAME * max(cost, best[-1][0]):
            best.pop()
        best.append((cost, quality))
    return sorted(best)


def _differ(known: Mapping[str, Point]) -> bool:
    costs = [cost for cost, _ in known.values()]
    return len(costs) > 1 and max(costs) - min(costs) >= _SAME * max(costs)


def _draw_panel(axes: Any, models: Mapping[str, ModelFigures], key: Cost) -> None:
    label, more_is_better = _COSTS[key]
    known = _list_points(models, key)
    axes.plot(
        *zip(*find_front(list(known.values()), more_is_better), strict=True),
        color=MUTED,
        linewidth=1,
        linestyle="--",
        zorder=1,
    )
    for number, role in enumerate(models):
        if role in known:
            marker = _MARKERS[number % len(_MARKERS)]
            cost, quality = known[role]
            axes.scatter(
                cost,
                quality,
                60,
                color=_choose_colour(role),
                marker=marker,
                label=format_role(role),
                edgecolors=PAPER,
            )
    axes.set_xlabel(label)
    _scale_axis(axes, [cost for cost, _ in known.values()])
    axes.margins(0.12)


def _scale_axis(axes: Any, costs: Sequence[float]) -> None:
    """Scale the axis of costs: by logarithm where they lie far apart, as ratios matter then."""
    if max(costs) > 10 * min(costs):
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")


def _list_points(models: Mapping[str, ModelFigures], key: Cost) -> dict[str, Point]:
    scale = 1.0 if key == "texts_per_second" else _MEGA
    return {
        role: (cost / scale, model["score"])
        for role, model in models.items()
        if (cost := model[key]) and model["score"] is not None
    }


def _choose_colour(role: str) -> str:
    kinds = {"base": SERIES[2], "student": SERIES[0], "teacher": SERIES[1]}
    return next((colour for kind, colour in kinds.items() if role.startswith(kind)), SERIES[3])
