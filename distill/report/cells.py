"""A table of the report: cells that say what they sort by."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """`value` is what the column sorts by, None for what is not known; a text without one sorts by
    itself. `note` stands smaller beneath. `bar` in [0, 1] is drawn behind the number."""

    text: str
    value: float | None = None
    note: str = ""
    bar: float | None = None


@dataclass(frozen=True)
class Grid:
    """The first cell of a row is its header. Columns named in `numeric` are aligned right."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: Sequence[str] = ()
    sortable: bool = True

    @property
    def long(self) -> bool:
        """Too long to be read at a glance: shown folded."""
        return len(self.rows) > 12


def make_cells(*texts: str) -> list[Cell]:
    """Make cells of texts."""
    return [Cell(text) for text in texts]
