"""A run's summary as readers want it: that of the run as it stands, with what summaries of earlier
versions lack and the values of single items tell, and the verdict by where the answers come from
and by what a person has judged since the evaluation."""

from pathlib import Path
from typing import Any

from distill.corpus.held_out import JUDGED, KNOWN_ITEM
from distill.errors import UserError
from distill.evaluate.judged.results import check_judge
from distill.evaluate.models.prompts import read_student_settings
from distill.evaluate.samples.known_items import read_known_item_counts
from distill.evaluate.statistics.item_parts import AnswerGroups
from distill.evaluate.statistics.retention import ItemValues, estimate_retention
from distill.evaluate.summary import (
    GROUPS_FILE,
    ITEMS_FILE,
    Origin,
    Summary,
    list_averaged_tasks,
    name_difference,
    read_current_summary,
)
from distill.evaluate.verdict import draw_verdict, get_verdict
from distill.files.atomic import read_json
from distill.store.stage import open_stage

_SUMS_SINCE = 5
"""The form of kept results (`FORMAT_VERSION`) from which hybrids rank by sums of scores."""


def read_run_summary(run_folder: Path) -> Summary | None:
    """Read the verdict on a run as it stands, as `complete_summary` completes it; None where it is
    not evaluated to the end.

    Raises:
        UserError: if an earlier distill has written it.
    """
    summary = read_current_summary(run_folder)
    if summary is None:
        return None
    return complete_summary(summary, run_folder)


def complete_summary(summary: Summary, run_folder: Path) -> Summary:
    """Complete the summary of a run's evaluation: the interval of the share of the teacher's score
    that the student keeps, what the verdict rests on, and what a person's verdicts make of it."""
    if "retention" not in summary:
        values = read_items(run_folder) or {}
        groups = read_answer_groups(run_folder)
        summary["retention"] = estimate_retention(values, list_averaged_tasks(summary), groups)
    if _are_fused_by_ranks(run_folder):
        summary["fused_by_ranks"] = True
    if (check := check_judge(run_folder)) is not None:
        summary["judge_check"] = check
    origins = {
        task: _find_origin(task, run_folder, summary) for task in list_averaged_tasks(summary)
    }
    settings = read_student_settings(run_folder / "student") or {}
    queries_alone = settings.get("route") == "query"
    summary["verdict"] = draw_verdict(summary, origins, check, queries_alone)
    return summary


def note_known_items(summary: Summary, run_folder: Path, queries_alone: bool) -> None:
    """Note what a comparison on a run's task of known-item search rests on.

    Args:
        queries_alone: as of `build_verdict`.
    """
    averaged = list_averaged_tasks(summary)
    if KNOWN_ITEM in averaged and read_known_item_counts(run_folder) is not None:
        origins = {task: _find_origin(task, run_folder, summary) for task in averaged}
        summary["verdict"] = draw_verdict(summary, origins, None, queries_alone)


def _find_origin(task: str, run_folder: Path, summary: Summary) -> Origin:
    if task == JUDGED:
        return "llm and person" if _is_corrected_by_person(summary) else "llm"
    if task == KNOWN_ITEM:
        counts = read_known_item_counts(run_folder)
        return "sentences" if counts is not None and counts.are_mostly_sentences else "titles"
    return "labels"


def _is_corrected_by_person(summary: Summary) -> bool:
    """Return whether a person's verdicts give an interval for the difference that the verdict is
    about. Those on pairs that an earlier version drew give one for student minus teacher alone."""
    check, against = summary.get("judge_check"), get_verdict(summary)["against"]
    if check is None or against is None:
        return False
    return name_difference("student", against) in check["differences"]


def _are_fused_by_ranks(run_folder: Path) -> bool:
    """Return whether a run was evaluated by an earlier version, whose hybrids rank by reciprocal
    ranks."""
    tasks = open_stage(run_folder / "evaluation").manifest["settings"].get("tasks", {})
    return any(of.get("kept", _SUMS_SINCE) < _SUMS_SINCE for of in tasks.values())


def read_items(run_folder: Path) -> ItemValues | None:
    """Read the values of single items of a run's evaluation; None where it kept none, or they are
    damaged."""
    return _read_evaluated(run_folder, ITEMS_FILE)


def read_answer_groups(run_folder: Path) -> dict[str, AnswerGroups]:
    """Read, by task, the queries of a run's evaluation that ask for the same documents; empty of
    one by an earlier version."""
    return _read_evaluated(run_folder, GROUPS_FILE) or {}


def _read_evaluated(run_folder: Path, name: str) -> dict[str, Any] | None:
    path = run_folder / "evaluation" / name
    try:
        content = read_json(path) if path.is_file() else None
    except UserError:
        return None
    return content if isinstance(content, dict) else None
