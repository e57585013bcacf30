"""The results of a run's own tasks beside the comparison, each with a label."""

from pathlib import Path

from distill.corpus.held_out import JUDGED, KNOWN_ITEM
from distill.evaluate.summary import Summary
from distill.report.facts import Fact
from distill.report.judged import describe_judged_run
from distill.report.known_item import describe_known_items


def list_notes_of_run(run_folder: Path, summary: Summary) -> list[Fact]:
    """List what an LLM's and a person's judgments say, and how far known-item search can be
    trusted; nothing of a task that is not in the summary, which an earlier recipe may have left in
    the folder."""
    notes = {
        JUDGED: ("judged pool", describe_judged_run),
        KNOWN_ITEM: (f"task {KNOWN_ITEM}", describe_known_items),
    }
    told = [
        (label, of(run_folder)) for task, (label, of) in notes.items() if task in summary["tasks"]
    ]
    return [note for note in told if note[1]]
