"""Recall by depth: how much of what is relevant stands among the first k documents."""

from collections.abc import Mapping

from markupsafe import Markup

from distill.report.plots.svg import SERIES, apply_style, make_figure, to_svg

_MARKERS = "oDs"


def draw_recall(by_system: Mapping[str, Mapping[int, float]]) -> Markup | None:
    """Draw a line for each system; None where no recall is known at two depths or more.

    Args:
        by_system: recall (0 to 1) by depth.
    """
    known = {name: points for name, points in by_system.items() if len(points) > 1}
    if not known:
        return None
    depths = sorted({depth for points in known.values() for depth in points})
    with apply_style("recall"):
        figure = make_figure(6.5, 3.2)
        axes = figure.subplots()
        for number, (name, points) in enumerate(known.items()):
            depth_and_recall = zip(*sorted(points.items()), strict=True)
            colour, mark = SERIES[number], _MARKERS[number]
            axes.plot(*depth_and_recall, color=colour, marker=mark, markersize=4, label=name)
        axes.set_xscale("log")
        axes.set_xticks(depths, [f"{depth}" for depth in depths])
        axes.minorticks_off()
        axes.set_xlabel("first k documents")
        axes.set_ylabel("recall")
        figure.legend(loc="outside lower center", ncols=3)
        told = "; ".join(_describe(name, points) for name, points in known.items())
        return to_svg(figure, f"Recall by depth: {told}.")


def _describe(name: str, points: Mapping[int, float]) -> str:
    first, last = min(points), max(points)
    return f"{name} {points[first]:.3f} at {first} to {points[last]:.3f} at {last}"
