"""An estimate as a table for people, and as JSON."""

from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from distill.estimate.amounts import (
    ZERO,
    Amount,
    Estimate,
    StageEstimate,
    format_amount,
    format_count,
)
from distill.files.atomic import format_bytes
from distill.runtime.live_line import format_duration

_TOKENS = ("prompt tokens", "shared", "new tokens")
_WIDEST = 10_000
"""Columns of a terminal on which any table has room."""


def render(estimate: Estimate) -> RenderableType:
    """Render an estimate as a table: a row a stage and one of totals, and what the figures rest on
    below. Where the terminal is too narrow for the table, a paragraph a stage: no number is cut."""
    return _EstimateView(estimate)


class _EstimateView:
    def __init__(self, estimate: Estimate) -> None:
        self._estimate = estimate

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = _make_table(self._estimate)
        wide = Measurement.get(console, options.update(width=_WIDEST), table).maximum
        yield table if wide <= options.max_width else _make_list(self._estimate)
        yield from (Text(note, style="dim") for note in self._estimate.basis)


def _make_table(estimate: Estimate) -> Table:
    table = Table(title=_make_title(estimate), box=box.SIMPLE_HEAD)
    table.add_column("stage", no_wrap=True)
    priced = ["cost"] if estimate.currency else []
    stored = ["disk", "shards"] if _is_stored(estimate) else []
    for heading in ("rows", *_TOKENS, "time", *priced, *stored):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for line in estimate.lines:
        table.add_row(*_choose_cells(line, estimate))
    table.add_section()
    table.add_row(*_choose_cells(estimate.total, estimate), style="bold")
    return table


def _choose_cells(line: StageEstimate, estimate: Estimate) -> list[str]:
    """Choose the cells of a line of the table: without those of columns that it lacks."""
    *cells, disk, shards, note = _make_cells(line, estimate.currency)
    return [*cells, *([disk, shards] if _is_stored(estimate) else []), note]


def _is_stored(estimate: Estimate) -> bool:
    """Return whether it is estimated what the stages write."""
    return any(line.disk is not None or line.shards is not None for line in estimate.lines)


def _make_list(estimate: Estimate) -> Table:
    """Make two columns: the stage, and its figures as words, which wrap between figures."""
    table = Table(title=_make_title(estimate), box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for line in [*estimate.lines, estimate.total]:
        stage, rows, *tokens, seconds, disk, shards = _make_cells(line, None)[:-1]
        named = zip(tokens, _TOKENS, strict=True)
        cost = "" if line.cost is None else _format_cost(line.cost, estimate.currency)
        files = f"{shards} shards" if shards else ""
        figures = [f"{n} {what}" for n, what in named if n]
        words = [rows, *figures, seconds, cost, disk, files, escape(line.note)]
        together = [part.replace(" ", "\N{NO-BREAK SPACE}") for part in words[:-1] if part]
        style = "bold" if line.stage == "total" else ""
        table.add_row(stage, ", ".join([*together, *filter(None, words[-1:])]), style=style)
    return table


def _make_title(estimate: Estimate) -> str:
    return f"distill estimate: {escape(estimate.recipe)}"


def to_json(estimate: Estimate) -> dict[str, Any]:
    """Convert an estimate to JSON. Every amount is `[low, high]`, null for an unknown bound or a
    figure that does not apply."""
    return {
        "recipe": estimate.recipe,
        "currency": estimate.currency,
        "stages": [_convert_values(line) for line in estimate.lines],
        "total": _convert_values(estimate.total),
        "basis": estimate.basis,
    }


def _make_cells(line: StageEstimate, currency: str | None) -> list[str]:
    rows = (
        "" if line.amount == ZERO and not line.unit else _format_amount(line.amount, format_count)
    )
    return [
        line.stage,
        f"{rows} {line.unit}".strip(),
        _format_amount(line.prompt_tokens, format_count),
        _format_amount(line.shared_tokens, format_count),
        _format_amount(line.new_tokens, format_count),
        _format_amount(line.seconds, format_duration),
        *([_format_cost(line.cost, currency)] if currency else []),
        _format_amount(line.disk, format_bytes),
        _format_amount(line.shards, format_count),
        escape(line.note),
    ]


def _format_amount(amount: Amount | None, number: Callable[[float], str]) -> str:
    return "" if amount is None else format_amount(amount, number)


def _format_cost(amount: Amount | None, currency: str | None) -> str:
    return _format_amount(amount, lambda cost: f"{cost:,.2f} {currency or ''}".strip())


def _convert_values(line: StageEstimate) -> dict[str, Any]:
    def list_bounds(amount: Amount | None) -> list[float | None] | None:
        if amount is None:
            return None
        return [None if value is None else round(value, 4) for value in (amount.low, amount.high)]

    return {
        "stage": line.stage,
        "unit": line.unit,
        "amount": list_bounds(line.amount),
        "prompt_tokens": list_bounds(line.prompt_tokens),
        "shared_tokens": list_bounds(line.shared_tokens),
        "new_tokens": list_bounds(line.new_tokens),
        "seconds": list_bounds(line.seconds),
        "cost": list_bounds(line.cost),
        "disk": list_bounds(line.disk),
        "shards": list_bounds(line.shards),
        "note": line.note,
    }
