"""A score of each item of a task (a query, a text, a set), for intervals and tests. An item's key
is split/subset/id. They are kept where their mean is the task's score, and nowhere else: a
correlation, an F1 or an area has no such parts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from distill.errors import need
from distill.evaluate.baselines.rankings import Rankings, rank_documents
from distill.files.atomic import read_json

TREC_NAMES = {
    "ndcg": "ndcg_cut",
    "map": "map_cut",
    "recall": "recall",
    "precision": "P",
    "hit_rate": "success",
}
"""mteb's names of measures -> trec_eval's, under which mteb hands out those of single queries."""
_SUBQUERY_PREFIX = "max_over_subqueries_"
"""Of queries that are asked in several ways, q_0 and q_1, and count as one (MindSmallReranking)."""
Qrels = Mapping[str, Mapping[str, int]]
RetrievalScores = Mapping[str, Mapping[str, float]]


def read_predictions(task: Any, folder: Path) -> Iterator[tuple[str, Any, Any]]:
    """Yield, of each subset and split: its key split/subset, its rows, what was predicted of
    them."""
    written = read_json(folder / task.prediction_file_name)
    for subset in task.hf_subsets:
        of_subset = task.dataset.get(subset, task.dataset)
        for split in task.eval_splits:
            yield f"{split}/{subset}", of_subset[split], written[subset][split]


def ranks_documents(task: Any) -> bool:
    """Return whether the task's score is a mean over queries for which documents are ranked."""
    measure = task.metadata.main_score.rpartition("_at_")[0].removeprefix(_SUBQUERY_PREFIX)
    return hasattr(task, "task_specific_scores") and measure in {*TREC_NAMES, "mrr"}


@contextmanager
def record_queries(task: Any, rankings: Rankings | None = None) -> Iterator[dict[str, float]]:
    """Record the main metric of each query, filled while the task is evaluated. mteb offers it to a
    retrieval or reranking task in one place, the hook for scores of the task's own.

    Args:
        rankings: gets each query's documents in order; None keeps none.
    """
    by_item: dict[str, float] = {}
    if not ranks_documents(task):
        yield by_item
        return
    hook = task.task_specific_scores

    def record(
        scores: dict[str, dict[str, float]],
        qrels: Qrels,
        results: RetrievalScores,
        hf_split: str,
        hf_subset: str,
    ) -> dict[str, float]:
        of_query = _score_queries(task.metadata.main_score, scores, qrels, results)
        part = f"{hf_split}/{hf_subset}"
        by_item.update({f"{part}/{query}": score for query, score in of_query.items()})
        if rankings is not None:
            rankings[part] = {query: rank_documents(found) for query, found in results.items()}
        own: dict[str, float] = hook(scores, qrels, results, hf_split, hf_subset)
        return own

    task.task_specific_scores = record
    try:
        yield by_item
    finally:
        del task.task_specific_scores


def has_text_accuracies(task: Any) -> bool:
    """Return whether the mean of right and wrong predictions is the task's score: accuracy over the
    texts of a split. (Cross-validation shuffles them, and several labels are right or wrong
    together.)"""
    abstasks = need("mteb.abstasks", "eval")
    return (
        isinstance(task, abstasks.AbsTaskClassification)
        and not isinstance(task, abstasks.AbsTaskMultilabelClassification)
        and task.metadata.main_score == "accuracy"
        and not task.is_cross_validation
    )


def read_text_accuracies(task: Any, folder: Path) -> dict[str, float]:
    """Read the share of a classification's experiments that labelled each text rightly, by the
    text's place in its split, from the predictions that mteb wrote into the folder."""
    by_item: dict[str, float] = {}
    for part, rows, runs in read_predictions(task, folder):
        truth = rows[task.label_column_name]
        for i, (label, *given) in enumerate(zip(truth, *runs, strict=True)):
            right = sum(one == label for one in given)
            by_item[f"{part}/{i}"] = right / len(given)
    return by_item


def read_set_v_measures(scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Read the V-measure of each set of mteb's first clustering tasks, from mteb's result."""
    return {
        f"{split}/{of_subset['hf_subset']}/{i}": value
        for split, subsets in scores.items()
        for of_subset in subsets
        if isinstance(of_subset.get("v_measures"), list)
        for i, value in enumerate(of_subset["v_measures"])
    }


def keep_if_mean_matches(by_item: Mapping[str, float], score: float) -> dict[str, float]:
    """Return the items, if the mean over subsets of their means is the score to mteb's rounding."""
    of_subset = [
        [by_item[key] for key in keys]
        for _, keys in groupby(sorted(by_item), lambda key: key.split("/", 2)[:2])
    ]
    if not of_subset:
        return {}
    mean = math.fsum(math.fsum(values) / len(values) for values in of_subset) / len(of_subset)
    return dict(by_item) if math.isclose(mean, score, abs_tol=1e-4) else {}


def _score_queries(
    metric: str, scores: RetrievalScores, qrels: Qrels, results: RetrievalScores
) -> dict[str, float]:
    """Return the metric of each query; `scores` are those that mteb has of single ones."""
    name, _, k = metric.rpartition("_at_")
    measure = name.removeprefix(_SUBQUERY_PREFIX)
    if measure != name:
        qrels, results = _merge_subqueries(qrels, results)
        scores, *_ = _import_metrics().calculate_retrieval_scores(results, qrels, [int(k)])
    if measure == "mrr":
        return _compute_reciprocal_ranks(qrels, results, int(k))
    return {query: values[f"{TREC_NAMES[measure]}_{k}"] for query, values in scores.items()}


def _merge_subqueries(qrels: Qrels, results: RetrievalScores) -> tuple[Qrels, RetrievalScores]:
    """Return one query of each that is asked in several ways, and of each document its best score,
    as mteb has them, who gives only their mean away."""
    judged: dict[str, Mapping[str, int]] = {}
    best: dict[str, dict[str, float]] = {}
    for query, documents in qrels.items():
        base = query.rpartition("_")[0]
        judged[base] = documents
        of_base = best.setdefault(base, {})
        for document, score in results[query].items():
            of_base[document] = max(score, of_base.get(document, score))
    return judged, best


def _import_metrics() -> Any:
    return need("mteb._evaluators.retrieval_metrics", "eval")


def _compute_reciprocal_ranks(qrels: Qrels, results: RetrievalScores, k: int) -> dict[str, float]:
    """Compute reciprocal ranks as mteb does, which gives only their mean away."""
    return dict(zip(results, _import_metrics().mrr(qrels, results, [k])[f"MRR@{k}"], strict=True))
