"""Collect what intervals and tests are drawn from, beside a score: values of single items if the
score is their mean; the data behind it if it is an F1, a correlation or an average precision;
mteb's own samples if it clusters."""

from pathlib import Path
from typing import Any

from distill.evaluate.samples.clustering import read_cluster_v_measures
from distill.evaluate.samples.items import (
    has_text_accuracies,
    keep_if_mean_matches,
    read_set_v_measures,
    read_text_accuracies,
)
from distill.evaluate.samples.labels import (
    compute_exact_matches,
    get_f1_average,
    has_labels,
    keep_if_f1_matches,
    read_labels,
)
from distill.evaluate.samples.pairs import get_pair_statistic, read_pairs
from distill.evaluate.samples.summaries import has_summary_correlations, read_summary_correlations


def needs_predictions(task: Any) -> bool:
    """Return whether mteb must write down what a model predicted."""
    return (
        has_text_accuracies(task)
        or has_summary_correlations(task)
        or has_labels(task)
        or get_pair_statistic(task.metadata.type, task.metadata.main_score) is not None
    )


def collect_samples(
    task: Any, result: Any, predictions: Path, by_query: dict[str, float]
) -> dict[str, dict[str, Any]]:
    """Collect a score's values by the names of TaskScore's fields, each empty where the score is
    none such.

    Args:
        predictions: the folder into which mteb wrote them.
        by_query: the scores of single queries, where it is a task of queries.
    """
    score = result.get_score()
    average = get_f1_average(task.metadata.type, task.metadata.main_score)
    labels = read_labels(task, predictions) if has_labels(task) else {}
    by_item = by_query | read_set_v_measures(result.scores)
    if has_text_accuracies(task):
        by_item |= read_text_accuracies(task, predictions)
    if has_summary_correlations(task):
        by_item |= read_summary_correlations(task, predictions)
    if average is None:
        by_item |= compute_exact_matches(labels)
    return {
        "by_item": keep_if_mean_matches(by_item, score),
        "pairs": read_pairs(task, predictions, score),
        "labels": {} if average is None else dict(keep_if_f1_matches(labels, average, score)),
        "resamples": keep_if_mean_matches(read_cluster_v_measures(task, result.scores), score),
    }
