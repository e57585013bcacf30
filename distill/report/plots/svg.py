"""A matplotlib figure as SVG inside a page: its text stays text, and its colours are the style
sheet's variables, so that one drawing serves light, dark and print."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from markupsafe import Markup

from distill.errors import need
from distill.text.sanitize import sanitize_for_terminal

INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0500{number:02x}" for number in range(1, 7))
"""Stand for variables of the style sheet until the drawing is written."""

_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--paper",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)},
}
_REM_PER_INCH = 6.1
"""Of a page's width: what is 8 points high in the drawing is about 11 pixels high there."""
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@contextmanager
def apply_style(name: str) -> Iterator[None]:
    """Set matplotlib up for the report while a plot is drawn and written. `name` tells its marks'
    ids from those of the page's other plots; the same plot always has the same bytes."""
    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        # A model may be called `$x`.
        "text.parse_math": False,
        "text.color": INK,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.formatter.useoffset": False,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.frameon": False,
        "legend.fontsize": 9,
    }
    with need("matplotlib", "eval").rc_context(settings):
        yield


def make_figure(width: float, height: float) -> Any:
    """Make a figure of so many inches, without pyplot's global state."""
    figures = need("matplotlib.figure", "eval")
    return figures.Figure(figsize=(width, height), layout="constrained")


def join_panels(drawings: Sequence[Markup]) -> Markup:
    """Put drawings beside each other, as many as the page is wide enough for."""
    return Markup('<div class="panels">') + Markup("").join(drawings) + Markup("</div>")


def to_svg(figure: Any, description: str) -> Markup:
    """Return the drawing as an element of the page. Call it inside `apply_style`.

    Args:
        description: what a person who does not see it is told.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata=_NO_METADATA)
    text = written.getvalue()
    text = sanitize_for_terminal(text[text.index("<svg") :])
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # the same in every drawing
    # The page's own fonts, and no rule that would hold outside the drawing.
    text = re.sub(r"font-family: [^;\"]*; ?", "", text)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    label = escape(description)
    opening = re.sub(r' (width|height)="[^"]*"', "", text[: text.index(">")], count=2)
    width = figure.get_figwidth() * _REM_PER_INCH
    size = f"max-width: {width:.1f}rem; --width: {width:.1f}rem"
    described = f'<svg role="img" aria-label="{label}" style="{size}"'
    opening = opening.replace("<svg", described, 1)
    return Markup(opening + text[text.index(">") :])  # matplotlib has escaped what it was given
