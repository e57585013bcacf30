"""The funnel from passages to examples: what is left at each step, and why the rest is not."""

from collections.abc import Mapping
from dataclasses import dataclass

from distill.report import numbers
from distill.report.cells import Cell, Grid, make_cells
from distill.report.run_data import Manifest
from distill.report.sections.decontamination import describe_decontamination
from distill.store.integrity import DROPPED
from distill.store.tables import EXAMPLES, GENERATIONS, PARSED, PASSAGES, QUERIES, Table

_TABLES = (PASSAGES, GENERATIONS, PARSED, QUERIES, EXAMPLES)


@dataclass(frozen=True)
class FunnelStep:
    """`kept` is the share of what came in, None where nothing was dropped."""

    table: str
    one_row: str
    rows: int
    kept: float | None
    dropped: dict[str, int]


@dataclass(frozen=True)
class Funnel:
    """The steps from passages to examples, and the rows that were dropped on the way."""

    steps: list[FunnelStep]
    dropped: Grid | None
    decontamination: list[str]


def make_funnel(stages: Mapping[str, Manifest]) -> Funnel | None:
    """Return the section; None for a run that has nothing but a corpus.

    Args:
        stages: manifests of complete stages, in order.
    """
    steps = [
        _make_step(table, name, m) for name, m in stages.items() if (table := _find_table(name))
    ]
    if not any(step.table != PASSAGES.name for step in steps):
        return None
    return Funnel(steps, _tabulate_reasons(steps), describe_decontamination(stages))


def list_drop_reasons(manifest: Manifest) -> dict[str, int]:
    """Return what a stage left out by reason, the most frequent first."""
    counts = [
        (key.removeprefix(DROPPED).strip(": "), count)
        for key, count in manifest["counts"].items()
        if key.startswith(DROPPED) and count
    ]
    return dict(sorted(counts, key=lambda item: (-item[1], item[0])))


def _find_table(name: str) -> Table | None:
    """Return what a stage's folder holds a table of: `examples-labelled` is one of examples."""
    return next((table for table in _TABLES if table.name == name.partition("-")[0]), None)


def _make_step(table: Table, name: str, manifest: Manifest) -> FunnelStep:
    # A further positive of a query is a row that came of no row before.
    rows = manifest["rows"] - manifest["counts"].get("additional positives", 0)
    lost = list_drop_reasons(manifest)
    came = rows + sum(lost.values())
    kept = rows / came if lost and came else None
    return FunnelStep(name, table.one_row, manifest["rows"], kept, lost)


def _tabulate_reasons(steps: list[FunnelStep]) -> Grid | None:
    most = max((count for step in steps for count in step.dropped.values()), default=0)
    rows = [
        [
            *make_cells(reason, step.table),
            Cell(numbers.format_whole(count), count, bar=count / most),
        ]
        for step in steps
        for reason, count in step.dropped.items()
    ]
    if not rows:
        return None
    return Grid("What was dropped, and why", ["reason", "at the step", "rows"], rows, ["rows"])
