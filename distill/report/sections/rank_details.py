"""Details of rankings that a single score leaves out: other measures, recall by depth, and
scores by groups of queries."""

from statistics import mean

from distill.evaluate.samples.query_groups import DOCUMENT_LENGTH
from distill.evaluate.summary import (
    BM25_ROLE,
    Breakdown,
    ModelFigures,
    QueryGroup,
    Summary,
    format_metric,
    format_role,
    list_averaged_tasks,
)
from distill.report import numbers
from distill.report.cells import Cell, Grid

_RECALL = "recall_at_"


def tabulate_details(summary: Summary) -> Grid | None:
    """Tabulate hit rate, MRR, MAP and recall by depth of every system, means over the averaged
    tasks that rank documents; None for a summary of before they were in it."""
    by_role = {role: _average_details(summary, of) for role, of in summary["models"].items()}
    known = {role: details for role, details in by_role.items() if details}
    if not known:
        return None
    measures = list(dict.fromkeys(measure for details in known.values() for measure in details))
    rows = [
        [Cell(format_role(role)), *(_make_cell(details.get(measure)) for measure in measures)]
        for role, details in known.items()
    ]
    header = ["model", *map(format_metric, measures)]
    return Grid("Rankings in detail", header, rows, numeric=header[1:])


def list_recalls(summary: Summary) -> dict[str, dict[int, float]]:
    """List recall by depth of student, teacher and BM25, means over the averaged tasks that rank
    documents; without those for which it is not known."""
    models = summary["models"]
    recalls = {}
    for role in ("student", "teacher", BM25_ROLE):
        details = _average_details(summary, models[role]) if role in models else {}
        by_depth = {
            int(measure.removeprefix(_RECALL)): value
            for measure, value in details.items()
            if measure.startswith(_RECALL)
        }
        if by_depth:
            recalls[format_role(role)] = by_depth
    return recalls


def _average_details(summary: Summary, model: ModelFigures) -> dict[str, float]:
    """Average each measure over those of the averaged tasks that rank documents."""
    by_task = model.get("details", {})
    of_tasks = [by_task[task] for task in list_averaged_tasks(summary) if task in by_task]
    measures = of_tasks[0] if of_tasks else {}
    return {m: mean(of[m] for of in of_tasks) for m in measures if all(m in of for of in of_tasks)}


def tabulate_breakdowns(summary: Summary) -> list[Grid]:
    """Tabulate each task's scores by groups of its queries, with the number of queries."""
    return [
        _tabulate_breakdown(summary, task, of)
        for task, breakdowns in summary.get("breakdowns", {}).items()
        for of in breakdowns
    ]


def _tabulate_breakdown(summary: Summary, task: str, of: Breakdown) -> Grid:
    roles = [
        role
        for role, model in summary["models"].items()
        if model["variant_of"] is None and any(role in group["scores"] for group in of["groups"])
    ]
    compared = any("from_teacher" in group for group in of["groups"])
    rows = [
        [
            Cell(group["group"]),
            Cell(numbers.format_whole(group["items"]), group["items"]),
            *(_make_cell(group["scores"].get(role)) for role in roles),
            *([_make_gap_cell(group)] if compared else []),
        ]
        for group in of["groups"]
    ]
    metric = format_metric(summary["tasks"][task]["metric"])
    by_documents = of["by"] == DOCUMENT_LENGTH
    header = ["documents" if by_documents else of["by"], "queries", *map(format_role, roles)]
    header += ["student − teacher"] if compared else []
    by = (
        "length of the documents that answer the query"
        if by_documents
        else f"{of['by']} of the query"
    )
    caption = f"{metric} on {task} by {by}"
    return Grid(caption, header, rows, numeric=header[1:], sortable=False)


def _make_gap_cell(group: QueryGroup) -> Cell:
    gap = group.get("from_teacher")
    if gap is None:
        return Cell(numbers.NONE)
    shown = numbers.format_signed(gap["difference"])
    return Cell(shown, gap["difference"], numbers.format_range(gap["low"], gap["high"]))


def _make_cell(value: float | None) -> Cell:
    return Cell(numbers.format_score(value), value)
