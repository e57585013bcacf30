"""The overlap of generated queries with evaluation sets, in words."""

from collections.abc import Mapping
from typing import Any

from distill.report.run_data import Manifest

_GENERATED = {
    "queries": "Generated queries and their seed passages",
    "examples-brainstorm": "Brainstormed examples",
    "examples-labelled": "Examples of labelled sets",
}


def describe_decontamination(stages: Mapping[str, Manifest]) -> list[str]:
    """Return a paragraph for each source of queries.

    Args:
        stages: manifests of complete stages.
    """
    lines = [
        _describe_overlap(_GENERATED[name], m) for name, m in stages.items() if name in _GENERATED
    ]
    evaluation = stages.get("evaluation", {}).get("figures", {})
    return lines + (
        [_describe_unlabelled(evaluation["unlabelled"])] if "unlabelled" in evaluation else []
    )


def _describe_overlap(what: str, manifest: Manifest) -> str:
    figures = manifest.get("figures", {}).get("decontamination")
    if figures is None:
        return f"{what} were not checked against any evaluation set."
    lines = (
        f"{what} were checked against {figures['evaluation queries']} evaluation queries of "
        f"{figures['tasks']}, by runs of {figures['run of words']} words (shorter ones whole, "
        f"{figures['evaluation queries too short to check']} too short to check): "
        f"{figures['queries dropped']} dropped."
    )
    if "seed passages" not in figures:
        return lines
    return lines + (
        f" Of {figures['seed passages']} seed passages "
        f"{figures['seed passages that hold an evaluation query']} hold words of an evaluation "
        f"query; {figures['seed passages that share words with an evaluation document']} share "
        "words with an evaluation document, which is told and not held against them."
    )


def _describe_unlabelled(figures: Mapping[str, Any]) -> str:
    uses = " and ".join(figures["learnt from by"])
    return (
        f"Passages that the student learns from without a query ({uses}) are not held against the "
        f"evaluation. Of the corpus' {figures['passages']} passages "
        f"{figures['that hold an evaluation query']} hold words of an evaluation query, and "
        f"{figures['that share words with an evaluation document']} share a run of "
        f"{figures['run of words']} words with an evaluation document."
    )
