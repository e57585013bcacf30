"""Histograms of the lengths of texts, in words."""

import statistics
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from distill.report.plots.svg import SERIES, apply_style, join_panels, make_figure, to_svg

_BINS = 20


def draw_lengths(by_kind: Mapping[str, Sequence[int]]) -> Markup | None:
    """Draw a panel for each kind of text; None without any text.

    Args:
        by_kind: the number of words of each text.
    """
    known = {kind: values for kind, values in by_kind.items() if values}
    if not known:
        return None
    drawings = [
        _draw(kind, values, SERIES[number]) for number, (kind, values) in enumerate(known.items())
    ]
    return join_panels(drawings)


def _draw(kind: str, values: Sequence[int], colour: str) -> Markup:
    most, median = max(values), statistics.median(values)
    with apply_style(f"lengths {kind}"):
        figure = make_figure(3.4, 2.4)
        axes = figure.subplots()
        axes.hist(values, bins=max(1, min(_BINS, most)), range=(0, most), color=colour, alpha=0.8)
        axes.set_title(f"{kind}, median {median:g}", loc="left")
        axes.set_xlabel("words")
        axes.set_ylabel("texts")
        description = f"from {min(values)} to {most}, median {median:g}"
        return to_svg(figure, f"Lengths of {kind} in words: {description}.")
