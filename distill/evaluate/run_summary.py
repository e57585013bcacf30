"""A run's summary as readers want it: that of the run as it stands, with what summaries of earlier
versions lack and the values of single items tell."""

from pathlib import Path

from distill.errors import UserError
from distill.evaluate.statistics.retention import ItemValues, estimate_retention
from distill.evaluate.summary import Summary, list_averaged_tasks, read_current_summary
from distill.files.atomic import read_json
from distill.store.stage import open_stage

_SUMS_SINCE = 5
"""The form of kept results (`FORMAT_VERSION`) from which hybrids rank by sums of scores."""


def read_run_summary(run_folder: Path) -> Summary | None:
    """Read the verdict on a run as it stands, with the interval of the share of the teacher's score
    that the student keeps; None where it is not evaluated to the end.

    Raises:
        UserError: if an earlier distill has written it.
    """
    summary = read_current_summary(run_folder)
    if summary is None:
        return None
    if "retention" not in summary:
        values = read_items(run_folder) or {}
        summary["retention"] = estimate_retention(values, list_averaged_tasks(summary))
    if _are_fused_by_ranks(run_folder):
        summary["fused_by_ranks"] = True
    return summary


def _are_fused_by_ranks(run_folder: Path) -> bool:
    """Return whether a run was evaluated by an earlier version, whose hybrids rank by reciprocal
    ranks."""
    tasks = open_stage(run_folder / "evaluation").manifest["settings"].get("tasks", {})
    return any(of.get("kept", _SUMS_SINCE) < _SUMS_SINCE for of in tasks.values())


def read_items(run_folder: Path) -> ItemValues | None:
    """Read the values of single items of a run's evaluation; None where it kept none, or they are
    damaged."""
    path = run_folder / "evaluation" / "items.json"
    try:
        items = read_json(path) if path.is_file() else None
    except UserError:
        return None
    return items if isinstance(items, dict) else None
