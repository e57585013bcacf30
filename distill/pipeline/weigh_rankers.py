"""The stage `ranker-check`: how well each ranker finds the known passage of queries that no
language model wrote, beside the retriever on the same lists, and the weights that follow.

A query is a title or a sentence taken out of its passage, so that no ranker finds it by the copy.
All rankers order the same candidates, those of the retriever with the known passage among them;
the others are those that the retriever finds nearest, which is to its disadvantage: a ranker that
is worse than it on its own lists is worse indeed.
"""

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.evaluate.statistics.resampling import resample_items
from distill.generate.known_item.items import LEAST_ITEMS
from distill.generate.known_item.ranker_queries import make_known_queries
from distill.llm.lazy import LazyLLM
from distill.pipeline.inner_run import open_inner_run
from distill.recipe import Ranker, Recipe, Relabel
from distill.relabel.fuse import group_by_query
from distill.relabel.rankers.passes import RankerSettings
from distill.relabel.stages import label_candidates
from distill.relabel.teaching import make_check_rule
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import LABELS, QUERIES, Row, read_rows
from distill.train.data.soft_labels import needs_labels

_log = logging.getLogger(__name__)
STAGE = "ranker-check"
_VERSION = 1
_LEAST_WEIGHT = 0.05


def settle_rankers(
    run: Run, recipe: Recipe, passages: Stage, queries: Stage, llm: LazyLLM, judged: Path
) -> Recipe:
    """Return the recipe with the judge that it trains as cross-encoder, and with the weights that
    the check of rankers gives instead of `auto`."""
    if recipe.trains_judge:
        from distill.pipeline.teach_judge import put_judge, teach_judge

        recipe = put_judge(recipe, teach_judge(run, recipe, passages, queries, llm, judged))
    if recipe.relabel.weights == "auto":
        recipe = weigh_rankers(run, recipe, passages, llm, judged)
    return recipe


def weigh_rankers(run: Run, recipe: Recipe, passages: Stage, llm: LazyLLM, judged: Path) -> Recipe:
    """Return the recipe with weights instead of `relabel.weights: auto`, and without the
    rankers that the check finds worse than the retriever (their 95 % interval lies below zero).
    Where training learns from the labels' scores these keep their scores, and weigh nothing.

    Raises:
        UserError: as relabelling does.
    """
    stage = check_rankers(run, recipe, passages, llm, judged)
    checked: dict[str, dict[str, Any]] = stage.manifest["figures"]["rankers"]
    rule = recipe.relabel
    kept: list[Ranker] = [ranker for ranker in rule.rankers if not checked[ranker]["left_out"]]
    for ranker in rule.rankers:
        if ranker not in kept:
            _warn_of_worse_ranker(ranker, checked[ranker], stage.manifest["rows"])
    if not kept:
        _log.warning("relabel.weights auto: no ranker is left, and the retriever's order is taken")
        kept = ["retriever"]
        checked = {**checked, "retriever": {"weight": 1.0}}
    learns_scores = needs_labels(recipe.train)
    needed = learns_scores or rule.fused or rule.cascade.by or _needs_relevance(recipe)
    rankers = list(dict.fromkeys([*rule.rankers, *kept])) if needed else kept
    weights = {ranker: checked[ranker]["weight"] if ranker in kept else 0.0 for ranker in rankers}
    settled = rule.model_copy(update={"rankers": rankers, "weights": weights})
    return recipe.model_copy(update={"relabel": settled})


def check_rankers(run: Run, recipe: Recipe, passages: Stage, llm: LazyLLM, judged: Path) -> Stage:
    """Have every ranker of the recipe order the candidates of known queries; a run inside the run,
    `round-check`, holds them."""
    rule = make_check_rule(recipe.relabel)
    checked = RankerSettings.select(recipe)._replace(rule=rule)
    with open_inner_run(run, "check") as inner:
        check, task = recipe.relabel.check, recipe.generate.free.task
        corpus, queries = make_known_queries(inner, check, task, recipe.seed, passages)
        query_rows = list(read_rows(QUERIES, queries.folder))
        if len(query_rows) < LEAST_ITEMS:
            labels = queries
        else:
            labels, _ = label_candidates(inner, checked, corpus, queries, llm, judged)
    place = labels.folder.relative_to(run.folder).as_posix()
    settings = fingerprint(recipe.relabel, recipe.seed)
    stage = run.open_stage(STAGE, settings, [dataclasses.replace(labels, name=place)])
    if stage.complete:
        return stage
    if labels is queries:
        _log.warning(
            "relabel.weights auto: %d passages give a title or a sentence to ask for them by, and "
            "the check takes %d; every ranker weighs the same",
            len(query_rows),
            LEAST_ITEMS,
        )
        figures: dict[str, dict[str, Any]] = {
            r: _describe_unchecked() for r in recipe.relabel.rankers
        }
    else:
        figures = compare_rankers(labels.read_rows(LABELS), query_rows, recipe)
    stage.finish(rows=len(query_rows), counts=queries.manifest["counts"], rankers=figures)
    return stage


def fingerprint(rule: Relabel, seed: int) -> dict[str, Any]:
    """Collect the settings that change how the rankers are compared; what they say of the queries
    is in the fingerprint of the labels."""
    return {"rankers": rule.rankers, "seed": seed, "version": _VERSION}


def compare_rankers(
    labels: Sequence[Row], queries: Sequence[Row], recipe: Recipe
) -> dict[str, dict[str, Any]]:
    """Compare the rankers; by ranker: `accuracy`, the share of queries whose known passage it puts
    first; the paired `difference` from the retriever with its 95 % interval (`low`, `high`); its
    `weight`; and whether it is `left_out`, since that interval lies below zero."""
    seeds = {row["query_id"]: row["seed_id"] for row in queries}
    lists = group_by_query(labels)
    known = [
        next(row for row in of if row["passage_id"] == seeds[of[0]["query_id"]]) for of in lists
    ]
    chance = float(np.mean([1 / len(of) for of in lists]))
    retriever = np.array([float(row["retriever_rank"] == 1) for row in known])
    by_ranker: dict[str, dict[str, Any]] = {}
    for ranker in dict.fromkeys([*recipe.relabel.rankers, "retriever"]):
        first = np.array([float(row[f"{ranker}_rank"] == 1) for row in known])
        low, high = _compute_interval(first - retriever, recipe.seed)
        by_ranker[ranker] = {
            "accuracy": round(float(first.mean()), 4),
            "difference": round(float((first - retriever).mean()), 4),
            "low": low,
            "high": high,
            "left_out": high < 0,
        }
    _add_weights(by_ranker, chance, len(known))
    return by_ranker


def _compute_interval(differences: np.ndarray[Any, Any], seed: int) -> tuple[float, float]:
    if not differences.any():
        return 0.0, 0.0
    drawn = resample_items(differences, np.random.default_rng(seed)).bootstrap
    low, high = np.percentile(drawn, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _add_weights(by_ranker: Mapping[str, dict[str, Any]], chance: float, count: int) -> None:
    """Weigh each ranker by the log-odds of its accuracy above those of chance, as votes of judges
    of known accuracy are (Nitzan and Paroush 1982); the best weighs 1. Accuracies are shrunk by
    half a query, so that one that is always right does not decide alone."""
    odds = {}
    for ranker, of in by_ranker.items():
        share = (of["accuracy"] * count + 0.5) / (count + 1)
        odds[ranker] = max(0.0, math.log(share / (1 - share)) - math.log(chance / (1 - chance)))
    best = max((odds[r] for r in by_ranker if not by_ranker[r]["left_out"]), default=0.0)
    for ranker, of in by_ranker.items():
        weight = odds[ranker] / best if best > 0 else 1.0
        of["weight"] = 0.0 if of["left_out"] else round(max(weight, _LEAST_WEIGHT), 2)


def _describe_unchecked() -> dict[str, Any]:
    return {
        "accuracy": None,
        "difference": None,
        "low": None,
        "high": None,
        "left_out": False,
        "weight": 1.0,
    }


def _needs_relevance(recipe: Recipe) -> bool:
    rule = recipe.relabel
    thresholds = rule.min_relevance is not None or rule.more_positives is not None
    return thresholds or rule.confirmed_exempt


def _warn_of_worse_ranker(ranker: str, of: Mapping[str, Any], queries: int) -> None:
    _log.warning(
        "ranker %s is left out: it puts the known passage first for %.1f %% of %d queries that no "
        "language model wrote, %.1f points (95 %% interval %.1f to %.1f) below the retriever",
        ranker,
        100 * of["accuracy"],
        queries,
        -100 * of["difference"],
        -100 * of["high"],
        -100 * of["low"],
    )
