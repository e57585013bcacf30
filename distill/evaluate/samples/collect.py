"""What is kept beside a score, for intervals and tests to draw from: values of single items where
the score is their mean; what it was computed of where it is an F1, a correlation or an average
precision; mteb's own samples where it clusters."""

from pathlib import Path
from typing import Any

from distill.evaluate.samples.clustering import of_clusterings
from distill.evaluate.samples.items import gives_predictions, of_sets, of_texts, with_mean
from distill.evaluate.samples.labels import average_of, exact, gives_labels, labels_of, with_score
from distill.evaluate.samples.pairs import of_predictions, statistic_of
from distill.evaluate.samples.summaries import gives_summaries, of_summaries


def needs_predictions(task: Any) -> bool:
    """Whether mteb must write down what a model predicted."""
    return (
        gives_predictions(task)
        or gives_summaries(task)
        or gives_labels(task)
        or statistic_of(task.metadata.type, task.metadata.main_score) is not None
    )


def kept_of(
    task: Any, result: Any, predictions: Path, by_query: dict[str, float]
) -> dict[str, dict[str, Any]]:
    """By the names of TaskScore's fields, each empty where the score is none such.

    Args:
        predictions: the folder into which mteb wrote them.
        by_query: the scores of single queries, where it is a task of queries.
    """
    score = result.get_score()
    average = average_of(task.metadata.type, task.metadata.main_score)
    labels = labels_of(task, predictions) if gives_labels(task) else {}
    by_item = by_query | of_sets(result.scores)
    if gives_predictions(task):
        by_item |= of_texts(task, predictions)
    if gives_summaries(task):
        by_item |= of_summaries(task, predictions)
    if average is None:
        by_item |= exact(labels)
    return {
        "by_item": with_mean(by_item, score),
        "pairs": of_predictions(task, predictions, score),
        "labels": {} if average is None else dict(with_score(labels, average, score)),
        "resamples": with_mean(of_clusterings(task, result.scores), score),
    }
