"""An estimate as a table for people, and as JSON."""

from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
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
from distill.runtime.progress import duration


def render(estimate: Estimate) -> RenderableType:
    """A row a stage and one of totals; below it, what the figures rest on."""
    table = Table(title=f"distill estimate: {escape(estimate.recipe)}", box=box.SIMPLE_HEAD)
    table.add_column("stage", no_wrap=True)
    priced = ["cost"] if estimate.currency else []
    for heading in ("rows", "prompt tokens", "shared", "new tokens", "time", *priced):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for line in estimate.lines:
        table.add_row(*_cells(line, estimate.currency))
    table.add_section()
    table.add_row(*_cells(estimate.total, estimate.currency), style="bold")
    notes = [Text(note, style="dim") for note in estimate.basis]
    return Group(table, *notes)


def to_json(estimate: Estimate) -> dict[str, Any]:
    """Every amount is `[low, high]`, null for a bound that is not known or a figure that does not
    apply."""
    return {
        "recipe": estimate.recipe,
        "currency": estimate.currency,
        "stages": [_values(line) for line in estimate.lines],
        "total": _values(estimate.total),
        "basis": estimate.basis,
    }


def _cells(line: StageEstimate, currency: str | None) -> list[str]:
    rows = "" if line.amount == ZERO and not line.unit else _said(line.amount, format_count)
    return [
        line.stage,
        f"{rows} {line.unit}".strip(),
        _said(line.prompt_tokens, format_count),
        _said(line.shared_tokens, format_count),
        _said(line.new_tokens, format_count),
        _said(line.seconds, duration),
        *([_said(line.cost, lambda cost: f"{cost:,.2f} {currency}")] if currency else []),
        escape(line.note),
    ]


def _said(amount: Amount | None, number: Callable[[float], str]) -> str:
    return "" if amount is None else format_amount(amount, number)


def _values(line: StageEstimate) -> dict[str, Any]:
    def bounds(amount: Amount | None) -> list[float | None] | None:
        if amount is None:
            return None
        return [None if value is None else round(value, 4) for value in (amount.low, amount.high)]

    return {
        "stage": line.stage,
        "unit": line.unit,
        "amount": bounds(line.amount),
        "prompt_tokens": bounds(line.prompt_tokens),
        "shared_tokens": bounds(line.shared_tokens),
        "new_tokens": bounds(line.new_tokens),
        "seconds": bounds(line.seconds),
        "cost": bounds(line.cost),
        "note": line.note,
    }
