"""Markdown that stays what it is whatever stands in it: texts of a corpus are data."""

import re
from collections.abc import Sequence

from distill.report.cells import Cell, Grid
from distill.text.sanitize import replace_controls

_MARKS = re.compile(r"[\\`*_\[\]|~$]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape_markdown(text: str, length: int | None = None) -> str:
    """Return a text from outside as one line that no reader of Markdown takes for markup.

    Args:
        length: cut to so many characters.
    """
    line = " ".join(replace_controls(text, " ").split())
    if length is not None and len(line) > length:
        line = line[:length].rstrip() + "…"
    marked = _MARKS.sub(r"\\\g<0>", line)
    return re.sub("[&<>]", lambda match: _ENTITIES[match[0]], marked)


def write_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table; what would end a cell, or make one of its words a code or an element, is
    escaped."""
    lines = [[_escape_cell(cell) for cell in line] for line in (header, *cells)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_grid(of: Grid) -> str:
    """Return a table of the report; what stands smaller on the page is in brackets here."""
    return write_table(of.header, [[_join_note(cell) for cell in row] for row in of.rows])


def _join_note(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _escape_cell(text: str) -> str:
    line = " ".join(text.split())
    return line.replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;")
