"""The labels that an F1 is computed from: each text's own, and those that each of the task's
classifiers gave it. An F1 is no mean of values of single texts, so it is computed again from these
for each resample."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from distill.errors import need
from distill.evaluate.samples.items import read_predictions
from distill.evaluate.statistics.f1 import Average, Label, LabelPredictions, make_weighted_f1

Labels = Mapping[str, tuple[Sequence[Label], Sequence[Sequence[Label]]]]
"""By split/subset/number: a text's labels, and those given to it in each experiment."""

_AVERAGES: Mapping[str, Average] = {"f1": "macro", "f1_weighted": "weighted"}


def get_f1_average(category: str, metric: str) -> Average | None:
    """Return over which classes a main score is the mean of F1s; None where it is something
    else."""
    if category == "Classification":
        return _AVERAGES.get(metric)
    return "macro" if category == "MultilabelClassification" and metric == "f1" else None


def has_labels(task: Any) -> bool:
    """Return whether the task's score is an F1, or the share of texts all of whose labels are
    right."""
    category, metric = task.metadata.type, task.metadata.main_score
    compute_exact_matches = category == "MultilabelClassification" and metric == "accuracy"
    classifies = isinstance(task, need("mteb.abstasks", "eval").AbsTaskClassification)
    given = compute_exact_matches or get_f1_average(category, metric) is not None
    return bool(classifies and given and not task.is_cross_validation)


def read_labels(task: Any, folder: Path) -> Labels:
    """Read the labels from the predictions that mteb wrote into the folder. Empty where it
    predicted a part of the split, of which it does not say which."""
    by_text = {}
    for part, rows, runs in read_predictions(task, folder):
        gold = [*map(_make_list, rows[task.label_column_name])]
        if any(len(run) != len(gold) for run in runs):
            return {}
        given = [_decode_predictions(task, run, gold) for run in runs]
        for i, (labels, *of_text) in enumerate(zip(gold, *given, strict=True)):
            by_text[f"{part}/{i}"] = (labels, of_text)
    return by_text


def keep_if_f1_matches(labels: Labels, average: Average, score: float) -> Labels:
    """Return the labels, if the F1 of them is the score to mteb's rounding."""
    means = [
        compute_f1(predictions, average) for predictions in group_labels_by_subset(labels).values()
    ]
    return labels if means and np.isclose(mean(means), score, rtol=0, atol=1e-4) else {}


def compute_exact_matches(labels: Labels) -> dict[str, float]:
    """Compute the share of experiments in which a text was given its labels and no others."""
    return {
        key: mean(float(set(run) == set(gold)) for run in given)
        for key, (gold, given) in labels.items()
    }


def group_labels_by_subset(labels: Labels) -> dict[str, LabelPredictions]:
    """Group labels by split and subset, which count the same in a task's score."""
    parts = {}
    for part, keys in groupby(sorted(labels), lambda key: key.rpartition("/")[0]):
        gold, given = zip(*(labels[key] for key in keys), strict=True)
        parts[part] = LabelPredictions(gold, given)
    return parts


def compute_f1(predictions: LabelPredictions, average: Average) -> float:
    """Compute the F1 with every text once."""
    return float(make_weighted_f1(predictions, average)(np.ones((len(predictions.gold), 1)))[0])


def _decode_predictions(
    task: Any, run: Sequence[Any], gold: Sequence[Sequence[Label]]
) -> list[list[Label]]:
    """Return one classifier's labels of each text. Those of several labels are zeros and ones, by
    the sorted labels of the split."""
    if task.metadata.type != "MultilabelClassification":
        return [[label] for label in run]
    known = sorted({label for labels in gold for label in labels})
    return [[label for label, one in zip(known, row, strict=True) if one] for row in run]


def _make_list(label: Any) -> list[Label]:
    return list(label) if isinstance(label, list | tuple) else [label]
