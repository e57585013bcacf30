"""A run's folder -> one HTML file: the sections' figures, put into the template."""

import base64
import hashlib
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from distill import __version__
from distill.errors import UserError
from distill.files.atomic import commit_bytes
from distill.report import numbers
from distill.report.facts import Fact, list_findings
from distill.report.run_data import RunData, read_run_data
from distill.report.run_notes import list_notes_of_run
from distill.report.sections.data_funnel import make_funnel
from distill.report.sections.languages import tabulate_languages
from distill.report.sections.lineage import make_lineage
from distill.report.sections.losses import find_lost_queries
from distill.report.sections.overview import make_overview
from distill.report.sections.query_sample import make_query_sample
from distill.report.sections.relabelling import make_relabelling
from distill.report.sections.results import make_results
from distill.report.sections.training import make_training
from distill.report.verdict import write_headline
from distill.runtime.versions import find_commit
from distill.store.run import Run
from distill.text.sanitize import sanitize_for_terminal

_TEMPLATES = Path(__file__).parent / "templates"


def write_html(run_folder: Path, out: Path | None = None, in_run: bool = False) -> Path:
    """Write the report of what stands in the run's folder, and return its path.

    The file needs nothing beside it and asks for nothing over a network; a content security policy
    inside it sees to that whatever the corpus holds. What is not there yet is said to be missing.

    Args:
        out: by default `report.html` in the run's folder.
        in_run: whether this process is writing the run anyway.

    Beside a process that writes the run, and of a run that cannot be written, `out` must name
    another place: into the run's folder then nothing is written.

    Raises:
        UserError: if the folder holds no stage of a run, its summary is of another version, another
            process writes the run, or matplotlib is not installed.
    """
    run_data = read_run_data(run_folder)
    path = out or run_folder / "report.html"
    with ExitStack() as opened:
        may_write = True
        try:
            opened.enter_context(nullcontext() if in_run else Run(run_folder))
        except (OSError, UserError):
            if out is None:
                raise
            may_write = False
        path.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(path, _render(run_data, may_write).encode())
    return path


def _render(run_data: RunData, may_write: bool) -> str:
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    environment = Environment(
        loader=PackageLoader("distill.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seen"] = sanitize_for_terminal
    return environment.get_template("report.html.jinja").render(
        name=run_data.name,
        overview=make_overview(run_data),
        sample=make_query_sample(run_data),
        languages=tabulate_languages(run_data),
        version=__version__,
        commit=find_commit(),
        headline=write_headline(run_data.summary) if run_data.summary else "",
        not_evaluated="" if run_data.summary else run_data.not_evaluated,
        facts=_list_facts(run_data),
        sections=_make_sections(run_data, may_write),
        numbers=numbers,
        style=Markup((_TEMPLATES / "report.css").read_text("utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _list_facts(run_data: RunData) -> list[Fact]:
    """List the findings; the student's figures stand above them, in large."""
    if not run_data.summary:
        return []
    return [*list_findings(run_data.summary), *list_notes_of_run(run_data.folder, run_data.summary)]


def _make_sections(run_data: RunData, may_write: bool) -> dict[str, Any]:
    """Return the sections by the name of their partial template, in the order of the tabs."""
    return {
        "results": make_results(run_data.summary, run_data.items, run_data.answer_groups)
        if run_data.summary
        else None,
        "losses": find_lost_queries(run_data, may_write),
        "training": make_training(run_data),
        "funnel": make_funnel(run_data.complete),
        "relabelling": make_relabelling(run_data),
        "lineage": make_lineage(run_data),
    }
