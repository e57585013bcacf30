"""Queries that ask for the same documents. Whether a model finds a document decides on all of them:
they are no independent items, and a bootstrap draws them together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


def list_answer_groups(task: "AbsTask") -> dict[str, str]:
    """List the queries of a task whose data is loaded that have exactly the same relevant documents
    as another, by split/subset/id: the first of those that do. A query without a relevant document
    is in no group."""
    dataset: Any = task.dataset
    groups: dict[str, str] = {}
    for subset in task.hf_subsets:
        for split in task.eval_splits:
            part = dataset.get(subset, dataset)[split]
            of_part = group_by_answers(part["relevant_docs"])
            name = f"{split}/{subset}"
            groups |= {f"{name}/{query}": f"{name}/{first}" for query, first in of_part.items()}
    return groups


def group_by_answers(relevant: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Name the first query, by id, of each that shares its relevant documents with another.

    >>> group_by_answers({"a": {"d1": 1}, "b": {"d2": 1}, "c": {"d1": 2, "d2": 0}})
    {'a': 'a', 'c': 'a'}

    Args:
        relevant: grades by query and document; 0 and less is not relevant.
    """
    by_answers: dict[frozenset[str], list[str]] = {}
    for query in sorted(relevant):
        answers = frozenset(id_ for id_, grade in relevant[query].items() if grade > 0)
        if answers:
            by_answers.setdefault(answers, []).append(query)
    several = [queries for queries in by_answers.values() if len(queries) > 1]
    return {query: queries[0] for queries in several for query in queries}
