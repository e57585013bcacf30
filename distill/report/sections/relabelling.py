"""Relabelling: how often the positive changed, how far rankers agree, where they put the seed, what
judging cost, and some changes to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from distill.evaluate.judge_summary import describe_judge
from distill.files.atomic import read_json
from distill.relabel.choose import CHANGES_FILE
from distill.relabel.fuse import WITHOUT_VERDICT
from distill.relabel.statistics import FUSION
from distill.report import numbers
from distill.report.cells import Cell, Grid
from distill.report.plots.histograms import draw_histograms
from distill.report.run_data import Manifest, RunData
from distill.store.integrity import check_files
from distill.store.stage import open_stage

_SEED_COLUMNS = {
    "share_first": "first",
    "share_within_3": "within 3",
    "mean_reciprocal_rank": "mean reciprocal rank",
}


@dataclass(frozen=True)
class RelabelSection:
    """`scores`: by ranker the `edges` of bins, and the numbers of `positive` and `others` in them.
    `changes`: as `examples` keeps them for reading, each with the passages' ranks in words.
    `judge`: what a judge of the run's own is worth, in sentences. `check`: how often each ranker
    puts the known passage first."""

    changed: str
    queries: str
    missed: str
    notes: list[tuple[str, str]]
    seed_rank: Grid | None
    agreement: Grid | None
    scores: dict[str, dict[str, list[float]]]
    judging: Grid | None
    changes: list[dict[str, Any]]
    changed_in_all: int
    judge: list[str]
    check: Grid | None

    @property
    def plot(self) -> Markup | None:
        """The histograms of the rankers' scores."""
        return draw_histograms(self.scores)


def make_relabelling(run_data: RunData) -> RelabelSection | None:
    """Return the section; None for a run that has not relabelled."""
    examples = run_data.complete.get("examples")
    if examples is None:
        return None
    figures, counts = examples.get("figures", {}), examples["counts"]
    return RelabelSection(
        changed=numbers.format_share(figures.get("share_relabelled")),
        queries=numbers.format_whole(
            counts.get("kept", examples["rows"]) - counts.get("without a seed passage", 0)
        ),
        missed=numbers.format_share(figures.get("share_seed_not_retrieved")),
        notes=_list_notes(run_data.complete),
        seed_rank=_tabulate_seed_ranks(figures.get("seed_rank", {})),
        agreement=_tabulate_agreement(figures.get("kendall_tau", {})),
        scores=figures.get("scores", {}),
        judging=_tabulate_judging(run_data.complete),
        changes=[_describe_change(one) for one in _read_changes(run_data.folder / "examples")],
        changed_in_all=counts.get("positive changed", 0),
        judge=describe_judge(run_data.folder) if "judge" in run_data.stages else [],
        check=_tabulate_check(run_data.complete.get("ranker-check")),
    )


def _read_changes(folder: Path) -> list[dict[str, Any]]:
    """Read the changes as the stage kept them; none of a run of before, which kept none."""
    stage = open_stage(folder)
    (path,) = check_files(stage, [stage.metadata_dir / CHANGES_FILE])
    return list(read_json(path)) if path.is_file() else []


def _list_notes(stages: Mapping[str, Manifest]) -> list[tuple[str, str]]:
    """List the counts of the choice that stand nowhere else, and the index' recall."""
    counts = stages["examples"]["counts"]
    notes = [
        (name, numbers.format_whole(count))
        for name, count in counts.items()
        if name not in ("kept", "positive changed") and not name.startswith("dropped")
    ]
    labels = stages.get("labels", {})
    notes += [
        (name, numbers.format_whole(count))
        for name, count in labels.get("counts", {}).items()
        if name.startswith(WITHOUT_VERDICT)
    ]
    measured = labels.get("figures", {}).get("seed_margin", {})
    for ranker, margin in measured.items():
        notes.append(
            (
                f"margin taken off the seed by {_format_ranker(ranker)}, which had it first in "
                f"{numbers.format_share(margin['share_first'])} of "
                f"{numbers.format_whole(margin['queries'])}",
                numbers.format_score(margin["margin"]),
            )
        )
    figures = stages.get("candidates", {}).get("figures", {})
    if "recall_at_k" in figures:
        label = f"recall@{figures.get('k', 'k')} of the index against exact search"
        notes.append((label, numbers.format_score(figures["recall_at_k"])))
    return notes


def _tabulate_seed_ranks(by_ranker: Mapping[str, Mapping[str, float]]) -> Grid | None:
    if not by_ranker:
        return None
    rows = [
        [
            Cell(_format_ranker(ranker)),
            *(Cell(f"{figures[key]:.3f}", figures[key]) for key in _SEED_COLUMNS),
        ]
        for ranker, figures in by_ranker.items()
    ]
    header = ["ranker", *_SEED_COLUMNS.values()]
    return Grid("Where each ranker puts the seed passage", header, rows, header[1:])


def _tabulate_check(manifest: Manifest | None) -> Grid | None:
    """Describe how the rankers did on queries whose passage is known."""
    if manifest is None:
        return None
    header = [
        "ranker",
        "queries",
        "known passage first",
        "minus retriever",
        "95 % interval",
        "weight",
    ]
    rows = [
        [
            Cell(_format_ranker(ranker)),
            # Those with a verdict; earlier versions counted all.
            Cell(f"{of.get('queries', manifest['rows']):,}"),
            Cell(numbers.format_share(of["accuracy"]), of["accuracy"]),
            Cell(
                numbers.NONE if of["low"] is None else f"{of['difference']:+.3f}", of["difference"]
            ),
            Cell(numbers.NONE if of["low"] is None else f"{of['low']:+.3f} to {of['high']:+.3f}"),
            Cell("left out" if of["left_out"] else f"{of['weight']:g}", of["weight"]),
        ]
        for ranker, of in manifest["figures"]["rankers"].items()
    ]
    title = f"Queries that no language model wrote ({manifest['rows']:,})"
    return Grid(title, header, rows, ["known passage first", "minus retriever", "weight"])


def _tabulate_agreement(by_ranker: Mapping[str, Mapping[str, float]]) -> Grid | None:
    rankers = list(by_ranker)
    if len(rankers) < 2:
        return None
    rows = [
        [
            Cell(_format_ranker(one)),
            *(_make_tau_cell(by_ranker[one].get(other)) for other in rankers),
        ]
        for one in rankers
    ]
    header = ["", *map(_format_ranker, rankers)]
    return Grid("Agreement of rankers (Kendall's tau)", header, rows, header[1:], sortable=False)


def _make_tau_cell(tau: float | None) -> Cell:
    return Cell("" if tau is None else f"{tau:.3f}", tau)


def _tabulate_judging(stages: Mapping[str, Manifest]) -> Grid | None:
    named = {n: m for n, m in stages.items() if n.startswith("judgements-")}
    if not named:
        return None
    header = ["ranker", "pairs", "judged before", "pairs/s", "prompt tokens", "saved by sharing"]
    rows = [_make_cost_cells(name, manifest) for name, manifest in named.items()]
    return Grid("What judging cost", header, rows, header[1:])


def _make_cost_cells(name: str, manifest: Manifest) -> list[Cell]:
    """Make the cells of a ranker's cost; pairs that were looked up and not judged count for no
    speed."""
    counts, tokens = manifest["counts"], manifest.get("figures", {}).get("tokens", {})
    pairs, before = counts.get("pairs", 0), counts.get("judged before", 0)
    speed = numbers.compute_ratio(pairs - before, manifest["seconds"])
    prompt = tokens.get("prompt") or None
    saved = numbers.compute_ratio(tokens.get("shared"), prompt)
    return [
        Cell(_format_ranker(name.removeprefix("judgements-"))),
        Cell(numbers.format_whole(pairs), pairs),
        Cell(numbers.format_whole(before), before),
        Cell(f"{speed:.1f}" if speed else numbers.NONE, speed),
        Cell(numbers.format_whole(prompt), prompt),
        Cell(numbers.format_share(saved), saved),
    ]


def _describe_change(change: Mapping[str, Any]) -> dict[str, Any]:
    ranks = {
        f"{role}_rank_text": _format_ranks(change[f"{role}_ranks"]) for role in ("seed", "positive")
    }
    return {**change, **ranks}


def _format_ranks(by_ranker: Mapping[str, int | None]) -> str:
    """Format the ranks, all rankers together first."""
    order: Sequence[str] = sorted(by_ranker, key=lambda ranker: (ranker != FUSION, ranker))
    return ", ".join(f"{_format_ranker(r)} {by_ranker[r] or numbers.NONE}" for r in order)


def _format_ranker(ranker: str) -> str:
    return ranker.replace("_", " ")
