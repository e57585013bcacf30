"""Overlap of what was generated with what the recipe evaluates on, by runs of words (Brown et al.
2020, appendix C)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distill.corpus.held_out import HELD_OUT, OWN_TASKS
from distill.corpus.readers.beir import read_beir
from distill.errors import UserError
from distill.recipe import Corpus, Evaluate, Filters
from distill.store.stage import Stage
from distill.text.ngrams import SHORTEST, NgramIndex
from distill.text.normalize import split_comparable_words
from distill.text.words import count_word_equivalents

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

REASONS = ("holds an evaluation query", "passage holds an evaluation query")
RULE = 2
"""Raised whenever other texts overlap by it. 2: parts of short queries, scripts without spaces."""
_OFF = "generate.filters.decontaminate: false"


@dataclass(frozen=True)
class EvaluationSet:
    """A task that the recipe evaluates on. `revision` changes when its texts do."""

    name: str
    revision: str
    queries: Callable[[], list[str]]
    documents: Callable[[], Iterator[str]]


class Decontaminator:
    """Knows the runs of `length` words of the evaluation sets' queries (those of 3 words up to
    that count whole, and their parts too), and of their documents."""

    def __init__(self, sets: Sequence[EvaluationSet], length: int) -> None:
        self.sets = [known.name for known in sets]
        queries = [query for known in sets for query in known.queries()]
        self.query_count = len(queries)
        self.too_short = sum(
            count_word_equivalents(split_comparable_words(query)) < SHORTEST for query in queries
        )
        self._queries = NgramIndex(queries, length, parts=True)
        self._documents = NgramIndex((text for known in sets for text in known.documents()), length)

    def overlaps(self, text: str) -> bool:
        """Return whether a text shares a run of words with an evaluation query, or is part of one,
        both shorter than that: `sort arrays in numpy` of `how to sort arrays in numpy`."""
        return self._queries.overlaps(text)

    def overlaps_document(self, text: str) -> bool:
        """Return whether a text shares a run of words with an evaluation document. To learn from
        the unlabelled passages of a corpus that is evaluated on is the purpose, so this is reported
        and never a reason to drop anything."""
        return self._documents.overlaps(text)


def list_evaluation_sets(
    evaluate: Evaluate, filters: Filters, corpus: Corpus | None, seed: int, held_out: Stage | None
) -> list[EvaluationSet]:
    """List the tasks of `evaluate.tasks`, none if decontamination is off. What lies on a hub is
    read only when its texts are asked for.

    Args:
        corpus: that labelled questions may name documents of; None for a recipe without one.
        seed: of the recipe.
        held_out: the held-out docstrings, where the recipe evaluates on them.

    Raises:
        UserError: if a task is unknown, or decontamination is on without any.
    """
    wanted = filters.decontaminate
    if wanted and not (evaluate.tasks or evaluate.benchmarks):
        raise UserError(
            "the recipe",
            "generate.filters.decontaminate is on, but evaluate.tasks is empty",
            f"name the tasks that are evaluated on, or set {_OFF}",
        )
    if wanted is False:
        return []
    sets = [_make_held_out_set(held_out)] if HELD_OUT in evaluate.tasks else []
    # The queries of `judged` and `known-item` are of passages that nothing is trained on.
    others = [name for name in evaluate.tasks if name not in OWN_TASKS]
    if not (others or evaluate.benchmarks):
        return sets
    from distill.tasks import open_recipe_tasks

    tasks = _read_with_remedy(lambda: open_recipe_tasks(evaluate, corpus, seed, others))
    return sets + [make_task_set(task) for task in tasks]


def count_overlaps(known: Decontaminator, length: int, dropped: int) -> dict[str, Any]:
    """Collect the figures of decontamination for a stage's manifest; `dropped`: queries, or
    examples without a passage."""
    return {
        "tasks": ", ".join(known.sets),
        "run of words": length,
        "evaluation queries": known.query_count,
        "evaluation queries too short to check": known.too_short,
        "queries dropped": dropped,
    }


def _make_held_out_set(held_out: Stage | None) -> EvaluationSet:
    """Read as the BEIR folder that it is: mteb need not be installed for it."""
    if held_out is None:
        raise UserError(
            f"task {HELD_OUT}", "this run holds nothing out", f"set corpus.held_out, or {_OFF}"
        )
    return EvaluationSet(
        HELD_OUT,
        held_out.fingerprint,
        lambda: list(read_beir(held_out.folder).queries.values()),
        lambda: (row["text"] for row in read_beir(held_out.folder).corpus.values()),
    )


def make_task_set(task: "AbsTask") -> EvaluationSet:
    """Make the evaluation set of a task of mteb; its texts are read when they are asked for."""
    from distill.tasks import iterate_corpus_texts, iterate_query_texts

    return EvaluationSet(
        task.metadata.name,
        str(task.metadata.revision),
        lambda: list(iterate_query_texts(_load(task))),
        lambda: iterate_corpus_texts(_load(task)),
    )


def _load(task: "AbsTask") -> "AbsTask":
    from distill.tasks.data import load_data

    _read_with_remedy(lambda: load_data(task))
    return task


def _read_with_remedy(read: Callable[[], Any]) -> Any:
    """Add a remedy to an error: whoever cannot read the task here may still generate here and
    evaluate elsewhere."""
    try:
        return read()
    except UserError as fault:
        raise UserError(
            fault.where,
            f"{fault.what} (generated queries are checked against the evaluation's)",
            f"{fault.remedy}; or, to generate without this check, {_OFF}",
        ) from fault
