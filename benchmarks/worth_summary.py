"""What `benchmarks/worth.py --summary` prints: the difference of each arm over all corpora
together, and on which corpora a student is above or below what it is measured against."""

from collections.abc import Collection, Mapping, Sequence
from statistics import mean
from typing import Any

import click

from distill.evaluate.score import TaskScore
from distill.evaluate.statistics.significance import compare_scores
from distill.evaluate.summary import Difference, Differences

Line = Mapping[str, Any]
"""What worth.py measured of one corpus, variant and seed."""


def sum_up(lines: Sequence[Line], arms: Collection[str]) -> list[dict[str, Any]]:
    """Sum up what was measured with all defaults.

    Returns:
        A line for each arm of an LLM that has run, with its difference from the adapted query
        encoder over its corpora, each of which counts the same; then one with the corpora on which
        the student is above or below its teacher, and an arm above or below the adapted query
        encoder, by more than the interval. Of static query encoders it has the share of the
        teacher's score, and where that is whole.
    """
    adapted = [line for line in lines if line["variant"] == "whole"]
    whole = compare(adapted)["tasks"] if adapted else {}
    by_arm = {
        arm: compare(measured)
        for arm in arms
        if (measured := [line for line in lines if line["variant"] == arm])
    }
    kept: dict[str, list[float]] = {}
    for line in lines:
        if line["variant"] == "static":
            kept.setdefault(line["corpus"], []).append(line["ratio"])
    shares = {corpus: mean(of) for corpus, of in sorted(kept.items())}
    pooled = [
        {"name": f"{arm}, pooled", "unit": "nDCG@10", "corpora": [*of["tasks"]]}
        | describe(of["overall"])
        for arm, of in by_arm.items()
    ]
    counted = {
        "name": "worth.py, all that has run",
        "corpora": [*whole],
        "above_teacher_of_six": list_above(whole),
        "below_teacher_of_six": list_below(whole),
        "static": {corpus: round(share, 4) for corpus, share in shares.items()},
        "static_at_teacher_of_six": [corpus for corpus, share in shares.items() if share >= 1],
        "llm_measured": {arm: [*of["tasks"]] for arm, of in by_arm.items()},
        "llm_above_adapted_of_six": {arm: list_above(of["tasks"]) for arm, of in by_arm.items()},
        "llm_below_adapted_of_six": {arm: list_below(of["tasks"]) for arm, of in by_arm.items()},
    }
    return [*pooled, counted]


def compare(lines: Sequence[Line]) -> Differences:
    """Compare the students with what they are measured against: on each corpus, over its queries,
    and overall, over the queries within their corpora, which count the same. Of several seeds a
    query's score is the mean over those that have the query, so that the interval is of queries
    and says nothing of seeds."""
    by_corpus: dict[str, list[Line]] = {}
    for line in lines:
        if "by_query" not in line:
            raise click.UsageError(
                f"{line['name']} is of an earlier version: run its command again"
            )
        by_corpus.setdefault(line["corpus"], []).append(line["by_query"])
    ours, peer = (
        [
            average_seeds(corpus, [of[side] for of in by_corpus[corpus]])
            for corpus in sorted(by_corpus)
        ]
        for side in ("ours", "peer")
    )
    return compare_scores(ours, peer)


def average_seeds(corpus: str, seeds: Sequence[Mapping[str, float]]) -> TaskScore:
    """The mean score of each query over the seeds that have it, as a task's."""
    queries = sorted(set().union(*seeds))
    means = {query: mean(of[query] for of in seeds if query in of) for query in queries}
    return TaskScore(corpus, "Retrieval", "ndcg_at_10", mean(means.values()), means)


def describe(overall: Difference) -> dict[str, Any]:
    """The figures of a difference that a line has."""
    return {
        "queries": overall["items"],
        "difference": overall["difference"],
        "low": overall["low"],
        "high": overall["high"],
        "p": overall["p"],
    }


def list_above(by_corpus: Mapping[str, Difference]) -> list[str]:
    """The corpora whose interval lies above 0."""
    return [corpus for corpus, of in by_corpus.items() if of["low"] is not None and of["low"] > 0]


def list_below(by_corpus: Mapping[str, Difference]) -> list[str]:
    """The corpora whose interval lies below 0."""
    return [corpus for corpus, of in by_corpus.items() if of["high"] is not None and of["high"] < 0]
