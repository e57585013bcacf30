"""A training example that was not relabelled, and what of them is never trained on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill.generate.filters.refusals import is_refusal
from distill.recipe import Filters
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import EXAMPLES, Row
from distill.tasks.clean_stage import find_change_of_rows, find_clean_stage
from distill.tasks.decontaminate import (
    REASONS,
    RULE,
    Decontaminator,
    EvaluationSet,
    count_overlaps,
)
from distill.text.normalize import normalize_text

_CONTAMINATED = REASONS[0]


def make_example(
    example_id: str, task: str, task_type: str, query: str, positive: str, negatives: Sequence[str]
) -> Row:
    """Make an EXAMPLES row whose texts belong to no corpus: named after it, without scores."""
    return {
        "query_id": example_id,
        "task": task,
        "task_type": task_type,
        "query": query,
        "seed_id": f"{example_id}~positive",
        "positive_id": f"{example_id}~positive",
        "positive": positive,
        "negative_ids": [f"{example_id}~negative-{n}" for n in range(1, len(negatives) + 1)],
        "negatives": list(negatives),
        "positive_score": None,
        "negative_scores": [],
        "relabelled": False,
    }


def reject_degenerate(row: Row) -> str | None:
    """Return why an example teaches nothing, or teaches what is wrong; None where it may be
    kept."""
    query, positive, task = (normalize_text(row[name]) for name in ("query", "positive", "task"))
    negatives = [normalize_text(text) for text in row["negatives"]]
    if not all((query, positive, *negatives)):
        return "empty text"
    if query == positive:
        return "query equals positive"
    if query in negatives:
        return "query equals negative"
    if positive in negatives:
        return "positive equals negative"
    return "query is the task" if query == task else None


def reject_contaminated(row: Row, known: Decontaminator | None) -> str | None:
    """Drop an example of which any text shares a run of words with an evaluation query."""
    texts = (row["query"], row["positive"], *row["negatives"])
    if known is not None and any(known.overlaps(text) for text in texts):
        return _CONTAMINATED
    return None


def list_decontamination(filters: Filters, sets: Sequence[EvaluationSet]) -> dict[str, Any]:
    """List what examples are decontaminated against, for the fingerprints of their stages."""
    settings: dict[str, Any] = {
        "decontaminate": {known.name: known.revision for known in sets},
        "decontaminate_words": filters.decontaminate_words if sets else None,
    }
    return settings | {"decontaminate_rule": RULE} if sets else settings


def find_clean_examples(
    run: Run,
    name: str,
    settings: Mapping[str, Any],
    inputs: Sequence[Stage],
    sets: Sequence[EvaluationSet],
    known: Callable[[], Decontaminator | None],
) -> Stage | None:
    """Find the complete stage of examples that was made for other evaluation tasks, where the
    present ones change nothing in it.

    Args:
        settings: the stage's settings for the present tasks, which are `sets` and which `known`
            knows.

    Raises:
        UserError: if it would change, and the run may not overwrite it.
    """
    length = settings["decontaminate_words"]

    def find_change(stage: Stage) -> str | None:
        return find_change_of_rows(
            stage,
            sets,
            known(),
            length,
            lambda against: sum(_is_overlapping(row, against) for row in stage.read_rows(EXAMPLES)),
        )

    def describe() -> dict[str, Any]:
        return summarize_decontamination(Stage(name, run.folder / name, ""), known(), length)

    return find_clean_stage(run, name, settings, inputs, find_change, describe)


def _is_overlapping(row: Row, known: Decontaminator) -> bool:
    """Return whether any text of an example holds words of an evaluation query. The id behind each
    text of a labelled set of classes is no part of it."""
    texts = [row["query"], row["positive"], *row["negatives"]]
    if row["query_id"].startswith("labelled~") and row["task_type"] == "classification":
        texts = [text.rpartition(" ")[0] for text in texts]
    return any(known.overlaps(text) for text in texts)


def summarize_decontamination(
    stage: Stage, known: Decontaminator | None, length: int
) -> dict[str, Any]:
    """Describe what a stage of examples records of it in its manifest."""
    if known is None:
        return {}
    dropped = stage.sum_counts()[f"dropped: {_CONTAMINATED}"]
    return {"decontamination": count_overlaps(known, length, dropped)}


def reject_refusal(row: Row) -> str | None:
    """Drop an example in which an LLM declines or chats. For what LLMs wrote alone: people do begin
    with "Sorry, but I"."""
    if is_refusal(row["query"]) or is_refusal(row["positive"]):
        return "refusal or boilerplate"
    return None
