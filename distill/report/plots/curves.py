"""The training's curve: the loss and each of its terms by step, each in a panel of its own, for
their scales have nothing in common."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from distill.report.plots.svg import SERIES, apply_style, join_panels, make_figure, to_svg

_NOT_DRAWN = ("step", "epoch")


def draw_curves(curve: Sequence[Mapping[str, float]]) -> Markup | None:
    """Draw the curves; None where nothing is logged at two steps or more.

    Args:
        curve: the log's lines, each with `step` and whatever numbers were logged there.
    """
    series = {name: points for name, points in _collect_series(curve).items() if len(points) > 1}
    if not series:
        return None
    return join_panels([_draw(name, points) for name, points in series.items()])


def _draw(name: str, points: Sequence[tuple[float, float]]) -> Markup:
    with apply_style(f"curves {name}"):
        figure = make_figure(3.4, 2.4)
        axes = figure.subplots()
        mark = "o" if len(points) <= 30 else None
        axes.plot(*zip(*points, strict=True), color=SERIES[0], marker=mark, markersize=3)
        axes.set_title(name.replace("_", " "), loc="left")
        axes.set_xlabel("step")
        return to_svg(figure, f"By step of training: {_describe_panel(name, points)}.")


def _collect_series(curve: Sequence[Mapping[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """Return the loss first, then what else there is in the order of its first line."""
    series: dict[str, list[tuple[float, float]]] = {"loss": []}
    for line in curve:
        for name, value in line.items():
            if name not in _NOT_DRAWN and isinstance(value, int | float):
                series.setdefault(name, []).append((line["step"], value))
    return series


def _describe_panel(name: str, points: Sequence[tuple[float, float]]) -> str:
    return f"{name.replace('_', ' ')} from {points[0][1]:.4g} to {points[-1][1]:.4g}"
