"""The results of a run's own tasks beside the comparison, each with a label."""

from pathlib import Path

from distill.corpus.held_out import KNOWN_ITEM
from distill.report.facts import Fact
from distill.report.judged import describe_judged_run
from distill.report.known_item import describe_known_items


def list_notes_of_run(run_folder: Path) -> list[Fact]:
    """List what an LLM's and a person's judgments say, and how far known-item search can be
    trusted; nothing of a task that the run does not have."""
    notes = [
        ("judged pool", describe_judged_run(run_folder)),
        (f"task {KNOWN_ITEM}", describe_known_items(run_folder)),
    ]
    return [note for note in notes if note[1]]
