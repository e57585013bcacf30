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
from distill.report import numbers
from distill.report.judged import describe_judged_run
from distill.report.known_item import describe_known_items
from distill.report.run_data import RunData, find
from distill.report.sections.data_funnel import funnel
from distill.report.sections.lineage import lineage
from distill.report.sections.losses import losses
from distill.report.sections.overview import overview
from distill.report.sections.query_sample import query_sample
from distill.report.sections.relabelling import relabelling
from distill.report.sections.results import results
from distill.report.sections.training import training
from distill.report.verdict import headline, sentence
from distill.store.run import Run
from distill.store.tables import commit_bytes
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
    found = find(run_folder)
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
        commit_bytes(path, _render(found, may_write).encode())
    return path


def _render(found: RunData, may_write: bool) -> str:
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
        name=found.name,
        overview=overview(found),
        sample=query_sample(found),
        version=__version__,
        headline=headline(found.summary) if found.summary else "",
        verdict=_write_verdict(found),
        sections=_sections(found, may_write),
        numbers=numbers,
        style=Markup((_TEMPLATES / "report.css").read_text("utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _write_verdict(found: RunData) -> str:
    if not found.summary:
        return found.not_evaluated
    parts = [
        sentence(found.summary),
        describe_judged_run(found.folder),
        describe_known_items(found.folder),
    ]
    return " ".join(filter(None, parts))


def _sections(found: RunData, may_write: bool) -> dict[str, Any]:
    """Return the sections by the name of their partial template, in the order of the tabs."""
    return {
        "results": results(found.summary, found.items) if found.summary else None,
        "losses": losses(found, may_write),
        "training": training(found),
        "funnel": funnel(found.complete),
        "relabelling": relabelling(found),
        "lineage": lineage(found),
    }
