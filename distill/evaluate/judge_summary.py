"""Describe in words how good a run's trained judge is."""

from pathlib import Path
from typing import Any

from distill.evaluate.summary import format_metric
from distill.store.stage import open_stage


def describe_judge(run_folder: Path) -> list[str]:
    """Describe how well the judge has learnt, and what it does as a reranker, a line each; empty
    where a run has none."""
    if not (run_folder / "judge" / ".stage").is_dir():
        return []
    manifest = open_stage(run_folder / "judge").manifest
    if not manifest["complete"]:
        return []
    return [*_describe_learning(manifest["figures"]), *_describe_reranking(run_folder)]


def _describe_learning(figures: dict[str, Any]) -> list[str]:
    teachers = "its teachers"
    lines = []
    if figures["held_out_lists"]:
        lines.append(
            f"On {figures['held_out_lists']} lists that it did not learn from, the judge orders "
            f"{figures['pairs_in_order']:.1%} of all pairs as {teachers} do (50 % is chance), and "
            f"has their first passage first in {figures['same_first']:.1%}."
        )
    if figures["known_pairs"]:
        lines.append(
            f"Of {figures['known_pairs']} passages with their own title or sentence it scores "
            f"{figures['known_pairs_won']} higher than another passage with the same words."
        )
    return lines


def _describe_reranking(run_folder: Path) -> list[str]:
    if not (run_folder / "judge-evaluation" / ".stage").is_dir():
        return []
    manifest = open_stage(run_folder / "judge-evaluation").manifest
    if not manifest["complete"]:
        return []
    results = manifest["figures"]["reranking"]
    return [_describe_task(name, of, results["depth"]) for name, of in results["tasks"].items()]


def _describe_task(name: str, of: dict[str, Any], depth: int) -> str:
    line = (
        f"{name}: {format_metric(of['metric'])} {of['reranked']:.4f} with the retriever's first "
        f"{depth} reordered by the judge, {of['retriever']:.4f} without"
    )
    if of["low"] is None:
        return f"{line}."
    return (
        f"{line} ({of['difference']:+.4f}, 95 % interval {of['low']:+.4f} to {of['high']:+.4f} "
        f"over {of['items']} queries)."
    )
