"""The section on relabelling in Markdown: histograms are drawn in characters, and a corpus' texts
stay texts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from distill.report.markdown.escape import escape_markdown, write_grid
from distill.report.sections.relabelling import RelabelSection

_TEXT = 300
_BAR = 24
_CHECKED = (
    "Titles and sentences, each taken out of its passage, which is among the retriever's first; "
    "one that is worse than the retriever beyond the interval is left out."
)


def write_relabelling(of: RelabelSection | None) -> list[str]:
    """Return the section's parts; none for a run that has not relabelled."""
    if of is None:
        return []
    sentence = (
        f"The positive is another passage than the seed for {of.changed} of {of.queries} queries; "
        f"for {of.missed} of the queries retrieval did not find the seed."
    )
    tau = "Kendall's tau, from -1 to 1, over the candidates of a query; the mean over all queries."
    return [
        "## Relabelling",
        sentence,
        "\n".join(f"- {label}: {figure}" for label, figure in of.notes),
        *(
            ["### Where each ranker puts the seed", write_grid(of.seed_rank)]
            if of.seed_rank
            else []
        ),
        *(
            ["### Rankers on queries that no language model wrote", _CHECKED, write_grid(of.check)]
            if of.check
            else []
        ),
        *(["### Agreement of rankers", tau, write_grid(of.agreement)] if of.agreement else []),
        *(
            [
                "### The judge of this run",
                "\n".join(f"- {escape_markdown(said)}" for said in of.judge),
            ]
            if of.judge
            else []
        ),
        *_draw_histograms(of.scores),
        *(["### Judgement", write_grid(of.judging)] if of.judging else []),
        *_write_changes(of.changes, of.changed_in_all),
    ]


def _draw_histograms(by_ranker: Mapping[str, Mapping[str, list[float]]]) -> list[str]:
    if not by_ranker:
        return []
    blocks = [_draw_histogram(ranker, of) for ranker, of in by_ranker.items()]
    return [
        "### Scores",
        "Of the chosen positives, and of all other candidates; the retriever's is its similarity.",
        "```text\n" + "\n\n".join(blocks) + "\n```",
    ]


def _draw_histogram(ranker: str, of: Mapping[str, list[float]]) -> str:
    edges, positive, others = of["edges"], of["positive"], of["others"]
    lines = [f"{ranker.replace('_', ' '):<24}{'positive':<{_BAR + 10}}others"]
    for i, low in enumerate(edges[:-1]):
        bars = "".join(
            f"{_draw_bar(number[i], number):<{_BAR + 10}}" for number in (positive, others)
        )
        lines.append(f"{low:>9.4g} to {edges[i + 1]:>9.4g}  {bars}".rstrip())
    return "\n".join(lines)


def _draw_bar(number: float, numbers: Sequence[float]) -> str:
    """Draw a bar as long as the number is large beside the largest; one character for the least."""
    length = math.ceil(number * _BAR / max(1, *numbers))
    return f"{'█' * length} {int(number)}"


def _write_changes(changes: Sequence[Mapping[str, Any]], in_all: int) -> list[str]:
    if not changes:
        return []
    return [
        "### Changes of positive",
        f"{len(changes)} of {in_all}, drawn evenly over the run.",
        "\n".join(_write_change(number, change) for number, change in enumerate(changes, start=1)),
    ]


def _write_change(number: int, change: Mapping[str, Any]) -> str:
    indent = " " * len(f"{number}. ")
    lines = [
        f"{number}. **{escape_markdown(change['query'])}** "
        f"{escape_markdown(change['task'], _TEXT)} "
        f"({escape_markdown(change['query_id'])})"
    ]
    for role, key in (("was", "seed"), ("is", "positive")):
        text = escape_markdown(change[key], _TEXT)
        name = escape_markdown(change[f"{key}_id"])
        lines.append(f"{indent}- {role} {name} ({change[f'{key}_rank_text']}): {text}")
    return "\n".join(lines)
