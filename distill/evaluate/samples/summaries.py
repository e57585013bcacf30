"""The score of each text whose summaries a model judges: the correlation of people's scores with
the similarities that the model gives, which mteb averages over texts."""

from pathlib import Path
from typing import Any

from distill.errors import need
from distill.evaluate.samples.items import read_predictions

_CORRELATIONS = {"spearman": "spearmanr", "pearson": "pearsonr"}
_SIMILARITY_NAMES = {"cosine": "cosine_scores", "dot": "dot_scores", "": "similarity_scores"}
"""mteb's names in a task's predictions, by what stands before the correlation in a metric."""


def has_summary_correlations(task: Any) -> bool:
    """Return whether the task's score is a mean of such correlations."""
    kind, _, correlation = task.metadata.main_score.rpartition("_")
    known = kind in _SIMILARITY_NAMES and correlation in _CORRELATIONS
    return bool(task.metadata.type == "Summarization" and known)


def read_summary_correlations(task: Any, folder: Path) -> dict[str, float]:
    """Read the correlations by split/subset/number of the text, from the predictions that mteb
    wrote into the folder. Where all summaries of a text are scored alike there is no correlation,
    and mteb leaves it out. Empty where it left out more, of which it does not say which: where the
    model tells none of a text's summaries apart."""
    kind, _, correlation = task.metadata.main_score.rpartition("_")
    correlate = getattr(need("scipy.stats", "eval"), _CORRELATIONS[correlation])
    correlations: dict[str, float] = {}
    for part, rows, written in read_predictions(task, folder):
        people = rows[task.relevancy_column_name]
        varied = [i for i, scores in enumerate(people) if len(set(scores)) > 1]
        pairs = [*zip(written["human_scores"], written[_SIMILARITY_NAMES[kind]], strict=True)]
        if len(pairs) != len(varied):
            return {}
        for i, (human, of_model) in zip(varied, pairs, strict=True):
            correlations[f"{part}/{i}"] = float(correlate(human, of_model).statistic)
    return correlations
