"""F1 of weighted texts, many weightings at once, as the scores in `statistic` are computed."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from distill.errors import need
from distill.evaluate.statistics.rank_metrics import EPSILON, Values, WeightedStatistic

Average = Literal["macro", "weighted"]
"""Over classes: each counts the same, or as many times as texts have it."""
Label = str | int | float | bool


class LabelPredictions(NamedTuple):
    """The gold labels of n texts, and the labels that each experiment gave them."""

    gold: Sequence[Sequence[Label]]
    given: Sequence[Sequence[Sequence[Label]]]

    def concatenate(self, other: "LabelPredictions") -> "LabelPredictions":
        """Return these texts with their labels, and the other's behind them."""
        return LabelPredictions([*self.gold, *other.gold], [*self.given, *other.given])


def make_weighted_f1(predictions: LabelPredictions, average: Average) -> WeightedStatistic:
    """Return the mean over experiments of the mean over classes of F1, where a class that is
    neither there nor given does not count, as in scikit-learn."""
    classes = _number_classes(predictions)
    gold = [set(labels) for labels in predictions.gold]
    runs = [[set(labels) for labels in run] for run in zip(*predictions.given, strict=True)]
    right = [[given & of for given, of in zip(run, gold, strict=True)] for run in runs]
    stack = need("scipy.sparse", "eval").vstack
    of_gold = _build_indicator(gold, classes)
    of_given = stack([_build_indicator(run, classes) for run in runs])
    of_right = stack([_build_indicator(run, classes) for run in right])

    def compute_weighted(weights: Values) -> Values:
        shape = len(runs), len(classes), weights.shape[1]
        there: Values = of_gold @ weights
        seen = (of_given @ weights).reshape(shape) + there
        of_class = 2 * (of_right @ weights).reshape(shape) / np.maximum(seen, EPSILON)
        count = np.broadcast_to(there, shape) if average == "weighted" else seen > EPSILON
        macro_f1: Values = ((of_class * count).sum(axis=1) / count.sum(axis=1)).mean(axis=0)
        return macro_f1

    return compute_weighted


def _number_classes(predictions: LabelPredictions) -> dict[Label, int]:
    names = {label for labels in predictions.gold for label in labels}
    names |= {label for text in predictions.given for run in text for label in run}
    return {label: number for number, label in enumerate(sorted(names, key=str))}


def _build_indicator(labels: Sequence[set[Label]], classes: dict[Label, int]) -> Any:
    """Build the indicator of labels: (classes, texts), one where a text has the label."""
    pairs = [(classes[label], text) for text, of in enumerate(labels) for label in of]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    ones = np.ones(len(pairs))
    shape = len(classes), len(labels)
    return need("scipy.sparse", "eval").csr_array((ones, (rows, columns)), shape=shape)
