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
            count = checked[ranker].get("queries", stage.manifest["rows"])  # of earlier versions
            _warn_of_worse_ranker(ranker, checked[ranker], count)
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
    known = [] if labels is queries else list_known(labels.read_rows(LABELS), query_rows)
    if any(row[f"{ranker}_rank"] is None for row in known for ranker in recipe.relabel.rankers):
        settings["without a verdict"] = "not compared"  # before, not first
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
        _warn_of_missing_verdicts(figures, len(known))
    stage.finish(rows=len(query_rows), counts=queries.manifest["counts"], rankers=figures)
    return stage


def fingerprint(rule: Relabel, seed: int) -> dict[str, Any]:
    """Collect the settings that change how the rankers are compared; what they say of the queries
    is in the fingerprint of the labels."""
    return {"rankers": rule.rankers, "seed": seed, "version": _VERSION}


def compare_rankers(
    labels: Sequence[Row], queries: Sequence[Row], recipe: Recipe
) -> dict[str, dict[str, Any]]:
    """Compare the rankers; by ranker: the number of `queries` on whose known passage it has a
    verdict; `accuracy`, the share of these whose known passage it puts first; the paired
    `difference` from the retriever on these with its 95 % interval (`low`, `high`); its `weight`;
    and whether it is `left_out`, since that interval lies below zero. Of fewer queries than make a
    check there is no interval, and no ranker is left out."""
    lists = group_by_query(labels)
    known = list_known(labels, queries)
    chance = float(np.mean([1 / len(of) for of in lists]))
    retriever = np.array([float(row["retriever_rank"] == 1) for row in known])
    by_ranker: dict[str, dict[str, Any]] = {}
    for ranker in dict.fromkeys([*recipe.relabel.rankers, "retriever"]):
        ranks = [row[f"{ranker}_rank"] for row in known]
        judged = np.array([rank is not None for rank in ranks])
        first = np.array([float(rank == 1) for rank in ranks])[judged]
        by_ranker[ranker] = {"queries": len(first), **_describe_unchecked()}
        if not len(first):
            continue
        gaps = first - retriever[judged]
        by_ranker[ranker] |= {
            "accuracy": round(float(first.mean()), 4),
            "difference": round(float(gaps.mean()), 4),
        }
        if len(first) >= min(LEAST_ITEMS, len(known)):
            low, high = _compute_interval(gaps, recipe.seed)
            by_ranker[ranker] |= {"low": low, "high": high, "left_out": high < 0}
    _add_weights(by_ranker, chance)
    return by_ranker


def list_known(labels: Sequence[Row], queries: Sequence[Row]) -> list[Row]:
    """List the label of each query's known passage."""
    seeds = {row["query_id"]: row["seed_id"] for row in queries}
    return [row for row in labels if row["passage_id"] == seeds[row["query_id"]]]


def _compute_interval(differences: np.ndarray[Any, Any], seed: int) -> tuple[float, float]:
    if not differences.any():
        return 0.0, 0.0
    drawn = resample_items(differences, np.random.default_rng(seed)).bootstrap
    low, high = np.percentile(drawn, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _add_weights(by_ranker: Mapping[str, dict[str, Any]], chance: float) -> None:
    """Weigh each ranker by the log-odds of its accuracy above those of chance, as votes of judges
    of known accuracy are (Nitzan and Paroush 1982); the best weighs 1. Accuracies are shrunk by
    half a query, so that one that is always right does not decide alone; a ranker without any
    verdict is taken for one that guesses."""
    odds = dict.fromkeys(by_ranker, 0.0)
    for ranker, of in by_ranker.items():
        if not of["queries"]:
            continue
        share = (of["accuracy"] * of["queries"] + 0.5) / (of["queries"] + 1)
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


def _warn_of_missing_verdicts(by_ranker: Mapping[str, Mapping[str, Any]], queries: int) -> None:
    for ranker, of in by_ranker.items():
        if of["queries"] < queries:
            _log.warning(
                "ranker %s has a verdict on the known passage of %d of %d queries, and is compared "
                "with the retriever on these",
                ranker,
                of["queries"],
                queries,
            )


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
