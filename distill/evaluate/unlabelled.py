"""Overlap of the evaluation with the passages that a student learns from without generated queries:
aligned with the teacher's vectors, or as what their titles ask for. It is counted, and nothing is
dropped: to learn from the unlabelled passages of a corpus that is evaluated on is the purpose."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distill.recipe import Filters, Train
from distill.recipe.sections.train import TITLES
from distill.store.stage import Stage
from distill.store.tables import PASSAGES, join_passage, read_rows
from distill.tasks.decontaminate import Decontaminator, make_task_set

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


def count_unlabelled_overlap(
    train: Train, filters: Filters, passages: Stage | None, tasks: "Sequence[AbsTask]"
) -> dict[str, Any] | None:
    """Count how many of the corpus' passages hold words of an evaluation query or document; None
    where none is learnt from in this way, or `generate.filters.decontaminate` is false."""
    uses = list_unlabelled_uses(train)
    if passages is None or not uses or filters.decontaminate is False:
        return None
    known = Decontaminator([make_task_set(task) for task in tasks], filters.decontaminate_words)
    count, queries, documents = 0, 0, 0
    for row in read_rows(PASSAGES, passages.folder):
        text = join_passage(row)
        count += 1
        queries += known.overlaps(text)
        documents += known.overlaps_document(text)
    return {
        "learnt from by": uses,
        "passages": count,
        "run of words": filters.decontaminate_words,
        "that hold an evaluation query": queries,
        "that share words with an evaluation document": documents,
    }


def list_unlabelled_uses(train: Train) -> list[str]:
    """List what a student learns from unlabelled passages by: vectors of the teacher, titles."""
    stages = train.list_stages().values()
    aligned = any(
        stage.objective.needs_teacher_vectors and stage.align.passages + stage.align.sentences
        for stage in stages
    )
    titled = any(source.path == TITLES for stage in stages for source in stage.mixture)
    return ["align"] * aligned + [TITLES] * titled
