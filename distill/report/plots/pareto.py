"""Quality against what it costs: speed, size, and the index of a million passages."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from markupsafe import Markup

from distill.evaluate.summary import ModelFigures, format_role
from distill.report.plots.svg import MUTED, PAPER, SERIES, new_figure, style, to_svg

Cost = Literal["texts_per_second", "bytes", "index_bytes_per_million"]

_COSTS: dict[Cost, tuple[str, bool]] = {
    "texts_per_second": ("texts per second", True),
    "bytes": ("size on disk, MB", False),
    "index_bytes_per_million": ("index of 10⁶ passages, MB", False),
}
"""A model's figure: its axis, and whether more of it is better."""
_MEGA = 1e6
_MARKERS = "oDs^vPX<>hdp"

Point = tuple[float, float]


def pareto(models: Mapping[str, ModelFigures], quality: str) -> Markup | None:
    """One panel for each cost that two models or more are known by; None where there is none. The
    line joins the models that no other is better than in both.

    Args:
        models: by role, as in a summary.
        quality: what the score is called.
    """
    costs = [key for key in _COSTS if len(_known(models, key)) > 1]
    if not costs:
        return None
    with style("pareto"):
        figure = new_figure(3.2 * max(2, len(costs)), 3.5)
        for axes, key in zip(figure.subplots(1, len(costs), squeeze=False)[0], costs, strict=True):
            _panel(axes, models, key)
        figure.axes[0].set_ylabel(quality)
        handles, labels = _legend(figure.axes)
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
        told = f"{quality} of {', '.join(labels)} against speed and size; the table has the values."
        return to_svg(figure, told)


def front(points: Sequence[Point], more_is_better: bool) -> list[Point]:
    """The points that no other is better than in both: cost and quality, by rising cost."""
    sign = -1 if more_is_better else 1
    best: list[Point] = []
    for cost, quality in sorted(points, key=lambda p: (sign * p[0], -p[1])):
        if not best or quality > best[-1][1]:
            best.append((cost, quality))
    return sorted(best)


def _panel(axes: Any, models: Mapping[str, ModelFigures], key: Cost) -> None:
    label, more_is_better = _COSTS[key]
    known = _known(models, key)
    axes.plot(
        *zip(*front(list(known.values()), more_is_better), strict=True),
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
                color=_colour(role),
                marker=marker,
                label=format_role(role),
                edgecolors=PAPER,
            )
    axes.set_xlabel(label)
    _scale(axes, [cost for cost, _ in known.values()])
    axes.margins(0.12)


def _scale(axes: Any, costs: Sequence[float]) -> None:
    """Ratios are what matters where costs lie far apart."""
    if max(costs) > 10 * min(costs):
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")


def _known(models: Mapping[str, ModelFigures], key: Cost) -> dict[str, Point]:
    scale = 1.0 if key == "texts_per_second" else _MEGA
    return {
        role: (cost / scale, model["score"])
        for role, model in models.items()
        if (cost := model[key]) and model["score"] is not None
    }


def _legend(panels: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Every model once, in the order of the table of the first panel that has it."""
    seen: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            seen.setdefault(label, handle)
    return list(seen.values()), list(seen)


def _colour(role: str) -> str:
    kinds = {"base": SERIES[2], "student": SERIES[0], "teacher": SERIES[1]}
    return next((colour for kind, colour in kinds.items() if role.startswith(kind)), SERIES[3])
