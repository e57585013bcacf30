"""A run's report as Markdown: the page's figures without its plots."""

from pathlib import Path

from distill.evaluate.summary import Summary, format_role
from distill.report import numbers
from distill.report.markdown.escape import grid, table
from distill.report.markdown.relabelling import relabelling_as_text
from distill.report.run_data import find
from distill.report.score_tables import (
    BASELINES,
    BASELINES_TITLE,
    BY_TASK,
    baseline_rows,
    by_task,
    columns,
    list_opponents,
    notes,
    rows,
    scores,
)
from distill.report.sections.data_funnel import Funnel, FunnelStep, funnel
from distill.report.sections.lineage import Lineage, lineage
from distill.report.sections.relabelling import relabelling
from distill.report.verdict import headline, sentence
from distill.store.run import Run
from distill.store.tables import commit_bytes


def write_report(run_folder: Path) -> Path:
    """Write `report.md` in the run's folder from what stands there, and return its path.

    What is not there is left out: a run without an evaluation gives a report of its stages.

    Raises:
        UserError: if the folder holds no stage of a run, a summary of another version, or
            another process writes the run.
    """
    found = find(run_folder)
    parts = [
        f"# Report on {found.name}",
        *(_verdict(found.summary) if found.summary else [found.not_evaluated]),
        *_funnel(funnel(found.complete)),
        *relabelling_as_text(relabelling(found)),
        *_lineage(lineage(found)),
    ]
    path = run_folder / "report.md"
    with Run(run_folder):
        commit_bytes(path, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return path


def _verdict(summary: Summary) -> list[str]:
    parts = [
        f"**{headline(summary)}**",
        sentence(summary),
        table(columns(summary), rows(summary)),
        table(*scores(summary)),
    ]
    for role in list_opponents(summary):
        parts += [f"Student - {format_role(role)}:", table(BY_TASK, by_task(summary, role))]
    if beside := baseline_rows(summary):
        parts += [f"{BASELINES_TITLE}:", table(BASELINES, beside)]
    return [*parts, *notes(summary)]


def _funnel(of: Funnel | None) -> list[str]:
    if of is None:
        return []
    cells = [_step(step) for step in of.steps]
    checked = ["## Decontamination", *of.decontamination] if of.decontamination else []
    return [
        "## From passages to examples",
        table(["table", "rows", "kept", "dropped"], cells),
        *checked,
    ]


def _step(step: FunnelStep) -> list[str]:
    kept = "" if step.kept is None else numbers.share(step.kept)
    reasons = ", ".join(f"{reason} {count}" for reason, count in step.dropped.items())
    return [step.table, numbers.whole(step.rows), kept, reasons]


def _lineage(of: Lineage) -> list[str]:
    figures = "\n".join(f"- {stage}: {what} {figure}" for stage, what, figure in of.figures)
    return [
        "## Stages",
        grid(of.stages),
        *(["## Figures", figures] if figures else []),
        "## Models and versions",
        grid(of.models) if of.models else "",
        grid(of.versions),
    ]
