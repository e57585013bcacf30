"""A run's report as Markdown: the page's figures without its plots."""

from contextlib import nullcontext
from pathlib import Path

from distill.evaluate.summary import Summary, format_role
from distill.files.atomic import commit_bytes
from distill.report import numbers
from distill.report.facts import list_facts
from distill.report.markdown.escape import escape_markdown, write_grid, write_table
from distill.report.markdown.relabelling import write_relabelling
from distill.report.run_data import read_run_data
from distill.report.run_notes import list_notes_of_run
from distill.report.score_tables import (
    BASELINES,
    BY_TASK,
    list_baseline_rows,
    list_columns,
    list_model_rows,
    list_notes,
    list_opponents,
    list_task_rows,
    tabulate_scores,
    write_baselines_title,
)
from distill.report.sections.data_funnel import Funnel, FunnelStep, make_funnel
from distill.report.sections.languages import tabulate_languages
from distill.report.sections.lineage import Lineage, make_lineage
from distill.report.sections.overview import make_overview
from distill.report.sections.query_sample import QuerySection, make_query_sample
from distill.report.sections.rank_details import tabulate_breakdowns, tabulate_details
from distill.report.sections.relabelling import make_relabelling
from distill.report.verdict import write_headline
from distill.store.run import Run

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
    run_data = read_run_data(run_folder)
    parts = [
        f"# Report on {run_data.name}",
        *(
            _write_verdict(run_data.summary, run_folder)
            if run_data.summary
            else [run_data.not_evaluated]
        ),
        "\n".join(
            f"- {label}: {escape_markdown(value)}" for label, value in make_overview(run_data)
        ),
        *_write_funnel(make_funnel(run_data.complete)),
        *([write_grid(of)] if (of := tabulate_languages(run_data)) else []),
        *_write_sample(make_query_sample(run_data)),
        *write_relabelling(make_relabelling(run_data)),
        *_write_lineage(make_lineage(run_data)),
    ]
    path = run_folder / "report.md"
    with nullcontext() if in_run else Run(run_folder):
        commit_bytes(path, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return path


def _write_verdict(summary: Summary, run_folder: Path) -> list[str]:
    facts = [*list_facts(summary), *list_notes_of_run(run_folder, summary)]
    parts = [
        f"**{write_headline(summary)}**",
        "\n".join(f"- **{label}**: {told}" for label, told in facts),
        write_table(list_columns(summary), list_model_rows(summary)),
        write_table(*tabulate_scores(summary)),
    ]
    for role in list_opponents(summary):
        parts += [
            f"Student - {format_role(role)}:",
            write_table(BY_TASK, list_task_rows(summary, role)),
        ]
    if beside := list_baseline_rows(summary):
        parts += [f"{write_baselines_title(summary)}:", write_table(BASELINES, beside)]
    parts += [write_grid(of) for of in tabulate_breakdowns(summary)]
    if details := tabulate_details(summary):
        parts.append(write_grid(details))
    return [*parts, *list_notes(summary)]


def _write_sample(of: QuerySection | None) -> list[str]:
    """Write shares, forms and task types, and some queries with the beginnings of their
    passages."""
    if of is None:
        return []
    queries = [
        f"{number}. **{escape_markdown(one['query'])}** ({escape_markdown(one['passage_id'])}): "
        f"{escape_markdown(one['text'], _TEXT)}"
        for number, one in enumerate(of.queries, start=1)
    ]
    return [
        "## Queries",
        "\n".join(f"- {label}: {figure}" for label, figure in of.shares),
        write_grid(of.forms),
        *([write_grid(of.task_types)] if of.task_types else []),
        f"{len(of.queries)} of {of.count:,}, evenly over the run:",
        "\n".join(queries),
    ]


def _write_funnel(of: Funnel | None) -> list[str]:
    if of is None:
        return []
    cells = [_write_step(step) for step in of.steps]
    checked = ["## Decontamination", *of.decontamination] if of.decontamination else []
    return [
        "## From passages to examples",
        write_table(["table", "rows", "kept", "dropped"], cells),
        *([write_grid(of.relevance)] if of.relevance else []),
        *checked,
    ]


def _write_step(step: FunnelStep) -> list[str]:
    kept = "" if step.kept is None else numbers.format_share(step.kept)
    reasons = ", ".join(f"{reason} {count}" for reason, count in step.dropped.items())
    return [step.table, numbers.format_whole(step.rows), kept, reasons]


def _write_lineage(of: Lineage) -> list[str]:
    figures = "\n".join(f"- {stage}: {what} {figure}" for stage, what, figure in of.figures)
    return [
        "## Stages",
        write_grid(of.stages),
        *(["## Figures", figures] if figures else []),
        "## Models and versions",
        write_grid(of.models) if of.models else "",
        write_grid(of.versions),
    ]
