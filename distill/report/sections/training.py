"""The student's training: what it learnt from, and the curve of its loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from distill.files.atomic import read_json
from distill.report import numbers
from distill.report.cells import Cell, Grid
from distill.report.plots.curves import draw_curves
from distill.report.run_data import RunData, put_before_first

_SOFTNESS = {
    "top_probability": "probability of the first",
    "top_probability_median": "probability of the first, median",
    "entropy": "entropy in nats",
    "entropy_median": "entropy in nats, median",
    "effective_candidates": "effective number of candidates",
    "candidates": "candidates",
}


@dataclass(frozen=True)
class TrainingSection:
    """`logged`: the loss and its terms; and what was looked at on the way, by other steps."""

    figures: list[tuple[str, str]]
    curves: Markup | None
    logged: list[Grid]


def make_training(run_data: RunData) -> TrainingSection | None:
    """Return the section; None for a run without a student."""
    student = run_data.complete.get("student")
    if student is None:
        return None
    path = run_data.folder / "student" / "training.json"
    record = read_json(path) if path.is_file() else {"curve": []}
    curve, looks = record["curve"], record.get("looks", [])
    known = student.get("figures", {})
    figures = [
        (key.replace("_", " "), _format_number(known[key]))
        for key in put_before_first(known)
        if isinstance(known[key], int | float)
    ]
    figures += _list_steps(record.get("stages", []))
    figures.append(("time", numbers.format_seconds(student["seconds"])))
    logged = [_tabulate_log("What was logged", curve), _tabulate_log("What was looked at", looks)]
    drawn = draw_curves([*curve, *looks])
    return TrainingSection(figures, drawn, [grid for grid in logged if grid is not None])


def _list_steps(stages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return how many of its steps each stage of training spent on what, and how soft its labels
    were."""
    steps_by_source = []
    for stage in stages:
        behind = f", {stage['name']}" if len(stages) > 1 else ""
        for source, steps in stage.get("steps_by_source", {}).items():
            steps_by_source.append((f"steps on {source}{behind}", _format_number(steps)))
        for key, label in _SOFTNESS.items():
            if key in (soft := stage.get("soft_labels") or {}):
                steps_by_source.append((f"soft labels: {label}{behind}", _format_number(soft[key])))
    return steps_by_source


def _tabulate_log(caption: str, lines: list[dict[str, float]]) -> Grid | None:
    names = list(dict.fromkeys(name for line in lines for name in line if name != "step"))
    rows = [
        [Cell(_format_number(line["step"])), *(_make_cell(line.get(name)) for name in names)]
        for line in lines
    ]
    if not rows:
        return None
    header = ["step", *(name.replace("_", " ") for name in names)]
    return Grid(caption, header, rows, numeric=header)


def _make_cell(value: float | None) -> Cell:
    return Cell(numbers.NONE if value is None else _format_number(value), value)


def _format_number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
