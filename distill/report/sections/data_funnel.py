"""The funnel from passages to examples: what is left at each step, and why the rest is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from distill.report import numbers
from distill.report.cells import Cell, Grid, make_cells
from distill.report.run_data import Manifest
from distill.report.sections.decontamination import describe_decontamination
from distill.store.integrity import DROPPED
from distill.store.tables import EXAMPLES, GENERATIONS, PARSED, PASSAGES, QUERIES, Table

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
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
    """The steps from passages to examples, the rows that were dropped on the way, and how relevant
    the rankers found what is trained on."""

    steps: list[FunnelStep]
    dropped: Grid | None
    relevance: Grid | None
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
    return Funnel(
        steps,
        _tabulate_reasons(steps),
        _tabulate_relevance(stages.get("examples", {})),
        describe_decontamination(stages),
    )


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


def _tabulate_relevance(examples: Manifest) -> Grid | None:
    """Tabulate quantiles of each ranker's scores, of the positives and of all other candidates;
    None where nothing was ranked."""
    by_ranker = examples.get("figures", {}).get("scores", {})
    rows = [
        [
            *make_cells(ranker.replace("_", " "), label),
            *(Cell(f"{value:.3g}", value) for value in _find_quantiles(of["edges"], of[kind])),
        ]
        for ranker, of in by_ranker.items()
        for kind, label in (("positive", "positives"), ("others", "other candidates"))
        if sum(of[kind])
    ]
    if not rows:
        return None
    header = ["judged by", "of", *(f"{share:.0%}" for share in _QUANTILES)]
    header[2 + _QUANTILES.index(0.5)] = "median"
    return Grid("Judged relevance of the candidates", header, rows, header[2:], sortable=False)


def _find_quantiles(edges: Sequence[float], counts: Sequence[float]) -> list[float]:
    """Find quantiles of values of which the number in each bin is known; within a bin they are
    taken to be evenly spread."""
    below = [0.0, *accumulate(counts)]
    return [float(np.interp(share * below[-1], below, edges)) for share in _QUANTILES]
