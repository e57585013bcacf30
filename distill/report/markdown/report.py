"""A run's report as Markdown: the page's figures without its plots."""

from contextlib import nullcontext
from pathlib import Path

from distill.evaluate.statistics.retention import estimate_retention
from distill.evaluate.summary import Summary, format_role, list_averaged_tasks
from distill.report import numbers
from distill.report.judged import describe_judged_run
from distill.report.known_item import describe_known_items
from distill.report.markdown.escape import grid, plain, table
from distill.report.markdown.relabelling import relabelling_as_text
from distill.report.run_data import RunData, find
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
from distill.report.sections.overview import overview
from distill.report.sections.query_sample import QuerySection, query_sample
from distill.report.sections.relabelling import relabelling
from distill.report.verdict import headline, sentence
from distill.store.run import Run
from distill.store.tables import commit_bytes

_TEXT = 200
"""Characters of a passage."""


def write_report(run_folder: Path, in_run: bool = False) -> Path:
    """Write `report.md` in the run's folder from what stands there, and return its path.

    What is not there is left out: a run without an evaluation gives a report of its stages.

    Args:
        in_run: whether this process is writing the run anyway.

    Raises:
        UserError: if the folder holds no stage of a run, a summary of another version, or
            another process writes the run.
    """
    found = find(run_folder)
    parts = [
        f"# Report on {found.name}",
        *(_verdict(found.summary) if found.summary else [found.not_evaluated]),
        describe_judged_run(run_folder) if found.summary else "",
        describe_known_items(run_folder) if found.summary else "",
        *_retention(found),
        "\n".join(f"- {label}: {plain(value)}" for label, value in overview(found)),
        *_funnel(funnel(found.complete)),
        *_sample(query_sample(found)),
        *relabelling_as_text(relabelling(found)),
        *_lineage(lineage(found)),
    ]
    path = run_folder / "report.md"
    with nullcontext() if in_run else Run(run_folder):
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


def _retention(found: RunData) -> list[str]:
    if found.summary is None or found.items is None:
        return []
    kept = estimate_retention(found.items, list_averaged_tasks(found.summary))
    if kept is None:
        return []
    return [
        f"Share of the teacher's score: {kept.share:.1%}, 95 % interval {kept.low:.1%} to "
        f"{kept.high:.1%}, over {kept.items:,} items."
    ]


def _sample(of: QuerySection | None) -> list[str]:
    """Shares, forms and task types, and some queries with the beginnings of their passages."""
    if of is None:
        return []
    queries = [
        f"{number}. **{plain(one['query'])}** ({plain(one['passage_id'])}): "
        f"{plain(one['text'], _TEXT)}"
        for number, one in enumerate(of.queries, start=1)
    ]
    return [
        "## Queries",
        "\n".join(f"- {label}: {figure}" for label, figure in of.shares),
        grid(of.forms),
        *([grid(of.task_types)] if of.task_types else []),
        f"{len(of.queries)} of {of.count:,}, evenly over the run:",
        "\n".join(queries),
    ]


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
