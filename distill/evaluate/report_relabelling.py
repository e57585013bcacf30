"""The report's section on relabelling: what became of the seeds, how the rankers differ, what
judging cost, and some changes of positive to read."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.evaluate.markdown import plain, table
from distill.run import read_json

Manifest = dict[str, Any]

TOLD_HERE = ("seed_rank", "kendall_tau", "scores", "recall_at_k", "k")
"""Figures of stages that have a place in this section."""

_TEXT = 300
_BAR = 24


def relabelling(run_folder: Path, stages: Mapping[str, Manifest]) -> list[str]:
    """The section's parts; none for a run that has not relabelled."""
    examples = stages.get("examples", {"complete": False})
    if not examples["complete"]:
        return []
    figures = examples.get("figures", {})
    return [
        "## Relabelling",
        _in_words(examples, stages),
        *_seed_rank(figures.get("seed_rank", {})),
        *_agreement(figures.get("kendall_tau", {})),
        *_histograms(figures.get("scores", {})),
        *_judgement(stages),
        *_changes(run_folder / "examples" / ".stage" / "changes.json", examples),
    ]


def _in_words(examples: Manifest, stages: Mapping[str, Manifest]) -> str:
    figures, counts = examples.get("figures", {}), examples["counts"]
    lines = [
        f"The positive is another passage than the seed for "
        f"{figures.get('share_relabelled', 0.0):.1%} of {counts.get('kept', 0)} queries; retrieval "
        f"missed the seed of {figures.get('share_seed_not_retrieved', 0.0):.1%}.",
        *(f"- {name}: {number}" for name, number in counts.items() if name != "kept"),
    ]
    found = stages.get("candidates", {}).get("figures", {})
    if "recall_at_k" in found:
        lines.append(
            f"- recall@{found.get('k', 'k')} of the approximate index against exact search: "
            f"{found['recall_at_k']:.4f}"
        )
    lines.insert(1, "")
    return "\n".join(lines).rstrip()


def _seed_rank(by_ranker: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not by_ranker:
        return []
    columns = ("share_first", "share_within_3", "mean_reciprocal_rank")
    cells = [
        [_name(ranker), *(f"{told[name]:.3f}" for name in columns)]
        for ranker, told in by_ranker.items()
    ]
    header = ["ranker", "first", "within 3", "mean reciprocal rank"]
    return ["### Where each ranker puts the seed", table(header, cells)]


def _agreement(by_ranker: Mapping[str, Mapping[str, float]]) -> list[str]:
    rankers = list(by_ranker)
    if len(rankers) < 2:
        return []
    cells = [
        [_name(one), *(f"{by_ranker[one][r]:.3f}" if r in by_ranker[one] else "" for r in rankers)]
        for one in rankers
    ]
    return [
        "### Agreement of rankers",
        "Kendall's tau, from -1 to 1, over the candidates of a query; the mean over all queries.",
        table(["", *map(_name, rankers)], cells),
    ]


def _histograms(by_ranker: Mapping[str, Mapping[str, list[float]]]) -> list[str]:
    if not by_ranker:
        return []
    blocks = [_histogram(ranker, of) for ranker, of in by_ranker.items()]
    return [
        "### Scores",
        "Of the chosen positives, and of all other candidates; the retriever's is its similarity.",
        "```text\n" + "\n\n".join(blocks) + "\n```",
    ]


def _histogram(ranker: str, of: Mapping[str, list[float]]) -> str:
    edges, positive, others = of["edges"], of["positive"], of["others"]
    lines = [f"{_name(ranker):<24}{'positive':<{_BAR + 10}}others"]
    for i, low in enumerate(edges[:-1]):
        bars = "".join(f"{_bar(number[i], number):<{_BAR + 10}}" for number in (positive, others))
        lines.append(f"{low:>9.4g} to {edges[i + 1]:>9.4g}  {bars}".rstrip())
    return "\n".join(lines)


def _bar(number: float, numbers: Sequence[float]) -> str:
    """As long as the number is large beside the largest; one character for the least."""
    length = math.ceil(number * _BAR / max(1, *numbers))
    return f"{'█' * length} {int(number)}"


def _judgement(stages: Mapping[str, Manifest]) -> list[str]:
    cells = [
        _cost(name, manifest)
        for name, manifest in stages.items()
        if name.startswith("judgements-") and manifest["complete"]
    ]
    header = ["stage", "pairs", "judged before", "pairs/s", "prompt tokens", "saved by sharing"]
    return ["### Judgement", table(header, cells)] if cells else []


def _cost(name: str, manifest: Manifest) -> list[str]:
    """Pairs that were looked up and not judged count for no speed."""
    counts, tokens = manifest["counts"], manifest.get("figures", {}).get("tokens", {})
    pairs, before = counts.get("pairs", 0), counts.get("judged before", 0)
    seconds, prompt = manifest["seconds"], tokens.get("prompt", 0)
    return [
        name,
        str(pairs),
        str(before),
        f"{(pairs - before) / seconds:.1f}" if seconds and pairs > before else "",
        str(prompt) if prompt else "",
        f"{tokens.get('shared', 0) / prompt:.1%}" if prompt else "",
    ]


def _changes(path: Path, examples: Manifest) -> list[str]:
    changes = read_json(path) if path.is_file() else []
    if not changes:
        return []
    changed = examples["counts"].get("positive changed", 0)
    return [
        "### Changes of positive",
        f"{len(changes)} of {changed}, drawn evenly over the run.",
        "\n".join(_change(number, change) for number, change in enumerate(changes, start=1)),
    ]


def _change(number: int, change: Mapping[str, Any]) -> str:
    indent = " " * len(f"{number}. ")
    lines = [
        f"{number}. **{plain(change['query'])}** {plain(change['task'], _TEXT)} "
        f"({plain(change['query_id'])})"
    ]
    for role, key in (("was", "seed"), ("is", "positive")):
        ranks = ", ".join(
            f"{_name(ranker)} {'-' if rank is None else rank}"
            for ranker, rank in change[f"{key}_ranks"].items()
        )
        text = plain(change[key], _TEXT)
        lines.append(f"{indent}- {role} {plain(change[f'{key}_id'])} ({ranks}): {text}")
    return "\n".join(lines)


def _name(ranker: str) -> str:
    return ranker.replace("_", " ")
