"""The method of intervals and p-values in a sentence: its name, and how many repetitions."""

from distill.evaluate.samples.labels import get_f1_average
from distill.evaluate.samples.pairs import get_pair_statistic
from distill.evaluate.statistics.resampling import (
    BOOTSTRAP_RESAMPLES,
    PERMUTATION_RESAMPLES,
    WEIGHTED_RESAMPLES,
)
from distill.evaluate.summary import Summary, TaskFigures


def describe_method(summary: Summary) -> str:
    """Describe the bootstrap and the permutation test with their repetitions; empty where no task
    has values of single items."""
    known = {task: of for task, of in summary["tasks"].items() if of["items"] is not None}
    if not known:
        return ""
    weighted = [task for task, of in known.items() if _is_weighted(of)]
    few = f"; {WEIGHTED_RESAMPLES:,} of each on {', '.join(weighted)}"
    if len(weighted) == len(known):
        return _write_method(WEIGHTED_RESAMPLES, WEIGHTED_RESAMPLES) + "."
    text = _write_method(BOOTSTRAP_RESAMPLES, PERMUTATION_RESAMPLES)
    return f"{text}{few if weighted else ''}."


def _write_method(draws: int, swaps: int) -> str:
    return (
        f"95 % intervals are of a paired bootstrap over items (B = {draws:,} draws), p of a paired "
        f"permutation test ({swaps:,} swaps)"
    )


def _is_weighted(of: TaskFigures) -> bool:
    """Return whether the score is of weighted items, each draw of which takes its time."""
    names = get_pair_statistic, get_f1_average
    return any(find(of["category"], of["metric"]) is not None for find in names)
