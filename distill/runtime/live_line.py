"""One live line at the bottom of the terminal that shows the newest work."""

from typing import Protocol

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_REFRESHES_A_SECOND = 8
_BAR_WIDTH = 14


class ShownWork(Protocol):
    """A piece of work as the line shows it; its figures change by themselves with time."""

    total: int | None
    done: int

    @property
    def title(self) -> str:
        """Where the run is and what is done."""
        ...

    @property
    def amount(self) -> str:
        """How much of the work is done; empty if its amount is unknown."""
        ...

    @property
    def figures(self) -> str:
        """Time and rates, as they are now."""
        ...


class LiveLine:
    """A line on stderr that is redrawn several times a second while work is shown. What does not
    fit into the terminal's width is cut at the right, where the least important figures are."""

    def __init__(self) -> None:
        self._works: list[ShownWork] = []
        self._live: Live | None = None

    @property
    def shown(self) -> bool:
        """Whether the line is on the screen."""
        return self._live is not None

    def show(self, work: ShownWork) -> None:
        """Show this work until it is hidden or other work is shown."""
        self._works.append(work)
        if self._live is None:
            console = Console(stderr=True)
            unicode = console.encoding.lower().startswith("utf")
            self._spinner = Spinner("dots" if unicode else "line")
            self._live = Live(
                console=console,
                get_renderable=self._render,
                refresh_per_second=_REFRESHES_A_SECOND,
                transient=True,
            )
            self._live.start(refresh=True)

    def hide(self, work: ShownWork) -> None:
        """Show this work no more, but that which was shown before it."""
        if work in self._works:
            self._works.remove(work)
        if self._live is not None and not self._works:
            self._live.stop()
            self._live = None

    def print_above(self, text: str) -> None:
        """Print a line that stays."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> Table | Text:
        if not self._works:
            return Text("")
        work = self._works[-1]
        cells: list[RenderableType] = [self._spinner, Text(work.title)]
        widths = [1, cell_len(work.title)]
        if work.total:
            cells.append(ProgressBar(total=work.total, completed=work.done, width=_BAR_WIDTH))
            widths.append(_BAR_WIDTH)
        line = Table.grid(padding=(0, 1))
        for width in widths:
            line.add_column(no_wrap=True, min_width=width)
        line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_row(*cells, Text(", ".join(filter(None, [work.amount, work.figures]))))
        return line


def format_duration(seconds: float) -> str:
    """Format seconds for people: 8 s, 3 min 20 s, 2 h 05 min, 4 d 3 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
