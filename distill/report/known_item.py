"""The results of the task `known-item`, and their limits, in words."""

from pathlib import Path

from distill.corpus.held_out import KNOWN_ITEM, are_sections_held_out
from distill.evaluate.samples.known_items import read_known_item_counts

SECTIONS_ALONE = (
    "Sections of documents were held out, and other sections of the same documents were trained "
    "on: of documents that are new to it altogether, the student may know less."
)
_BY_TITLE = "a title shares words with its document, so BM25 is favoured"
_BY_SENTENCE = (
    "a document has lost the words of the sentence that asks for it, so BM25 is at a disadvantage"
)
_LIMITS = (
    "and the task says little about questions of people. Better: labelled "
    "questions (evaluate.tasks: [questions.csv]), such as fifty queries of a log with the "
    "documents that answer them; or an LLM that asks and judges (evaluate.tasks: [judged])."
)


def describe_known_items(run_folder: Path) -> str:
    """Describe a run's task of known-item search, and how far it can be trusted; empty where the
    run has none."""
    counts = read_known_item_counts(run_folder)
    if counts is None:
        return ""
    bias = _BY_SENTENCE if counts.are_mostly_sentences else _BY_TITLE
    by_section = are_sections_held_out(run_folder)
    searched = "sections of documents" if by_section else "documents"
    rest = f" {SECTIONS_ALONE}" if by_section else ""
    return (
        f"The task {KNOWN_ITEM} searches for {counts.titles + counts.sentences:,} held-out "
        f"{searched} among {counts.passages:,} passages: {counts.titles:,} by their own titles, "
        f"{counts.sentences:,} by a sentence taken out of them. It stands in for labelled queries: "
        f"{bias}, {_LIMITS}{rest}"
    )
