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
from distill.relabel.statistics import FUSION
from distill.report import numbers
from distill.report.cells import Cell, Grid
from distill.report.plots.histograms import histograms
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
        return histograms(self.scores)


def relabelling(found: RunData) -> RelabelSection | None:
    """Return the section; None for a run that has not relabelled."""
    examples = found.complete.get("examples")
    if examples is None:
        return None
    figures, counts = examples.get("figures", {}), examples["counts"]
    return RelabelSection(
        changed=numbers.share(figures.get("share_relabelled")),
        queries=numbers.whole(
            counts.get("kept", examples["rows"]) - counts.get("without a seed passage", 0)
        ),
        missed=numbers.share(figures.get("share_seed_not_retrieved")),
        notes=_notes(found.complete),
        seed_rank=_seed_rank(figures.get("seed_rank", {})),
        agreement=_agreement(figures.get("kendall_tau", {})),
        scores=figures.get("scores", {}),
        judging=_judging(found.complete),
        changes=[_change(one) for one in _changes(found.folder / "examples")],
        changed_in_all=counts.get("positive changed", 0),
        judge=describe_judge(found.folder),
        check=_check(found.complete.get("ranker-check")),
    )


def _changes(folder: Path) -> list[dict[str, Any]]:
    """Read the changes as the stage kept them; none of a run of before, which kept none."""
    stage = open_stage(folder)
    (path,) = check_files(stage, [stage.metadata_dir / CHANGES_FILE])
    return list(read_json(path)) if path.is_file() else []


def _notes(stages: Mapping[str, Manifest]) -> list[tuple[str, str]]:
    """Counts of the choice that are told nowhere else, and the index' recall."""
    counts = stages["examples"]["counts"]
    notes = [
        (name, numbers.whole(count))
        for name, count in counts.items()
        if name not in ("kept", "positive changed") and not name.startswith("dropped")
    ]
    measured = stages.get("labels", {}).get("figures", {}).get("seed_margin", {})
    for ranker, margin in measured.items():
        notes.append(
            (
                f"margin taken off the seed by {_name(ranker)}, which had it first in "
                f"{numbers.share(margin['share_first'])} of {numbers.whole(margin['queries'])}",
                numbers.score(margin["margin"]),
            )
        )
    figures = stages.get("candidates", {}).get("figures", {})
    if "recall_at_k" in figures:
        label = f"recall@{figures.get('k', 'k')} of the index against exact search"
        notes.append((label, numbers.score(figures["recall_at_k"])))
    return notes


def _seed_rank(by_ranker: Mapping[str, Mapping[str, float]]) -> Grid | None:
    if not by_ranker:
        return None
    rows = [
        [Cell(_name(ranker)), *(Cell(f"{told[key]:.3f}", told[key]) for key in _SEED_COLUMNS)]
        for ranker, told in by_ranker.items()
    ]
    header = ["ranker", *_SEED_COLUMNS.values()]
    return Grid("Where each ranker puts the seed passage", header, rows, header[1:])


def _check(manifest: Manifest | None) -> Grid | None:
    """Describe how the rankers did on queries whose passage is known."""
    if manifest is None:
        return None
    header = ["ranker", "known passage first", "minus retriever", "95 % interval", "weight"]
    rows = [
        [
            Cell(_name(ranker)),
            Cell(numbers.share(of["accuracy"]), of["accuracy"]),
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


def _agreement(by_ranker: Mapping[str, Mapping[str, float]]) -> Grid | None:
    rankers = list(by_ranker)
    if len(rankers) < 2:
        return None
    rows = [
        [Cell(_name(one)), *(_tau(by_ranker[one].get(other)) for other in rankers)]
        for one in rankers
    ]
    header = ["", *map(_name, rankers)]
    return Grid("Agreement of rankers (Kendall's tau)", header, rows, header[1:], sortable=False)


def _tau(tau: float | None) -> Cell:
    return Cell("" if tau is None else f"{tau:.3f}", tau)


def _judging(stages: Mapping[str, Manifest]) -> Grid | None:
    named = {n: m for n, m in stages.items() if n.startswith("judgements-")}
    if not named:
        return None
    header = ["ranker", "pairs", "judged before", "pairs/s", "prompt tokens", "saved by sharing"]
    rows = [_cost(name, manifest) for name, manifest in named.items()]
    return Grid("What judging cost", header, rows, header[1:])


def _cost(name: str, manifest: Manifest) -> list[Cell]:
    """Pairs that were looked up and not judged count for no speed."""
    counts, tokens = manifest["counts"], manifest.get("figures", {}).get("tokens", {})
    pairs, before = counts.get("pairs", 0), counts.get("judged before", 0)
    speed = numbers.ratio(pairs - before, manifest["seconds"])
    prompt = tokens.get("prompt") or None
    saved = numbers.ratio(tokens.get("shared"), prompt)
    return [
        Cell(_name(name.removeprefix("judgements-"))),
        Cell(numbers.whole(pairs), pairs),
        Cell(numbers.whole(before), before),
        Cell(f"{speed:.1f}" if speed else numbers.NONE, speed),
        Cell(numbers.whole(prompt), prompt),
        Cell(numbers.share(saved), saved),
    ]


def _change(change: Mapping[str, Any]) -> dict[str, Any]:
    ranks = {f"{role}_told": _ranks(change[f"{role}_ranks"]) for role in ("seed", "positive")}
    return {**change, **ranks}


def _ranks(by_ranker: Mapping[str, int | None]) -> str:
    """Format the ranks, all rankers together first."""
    order: Sequence[str] = sorted(by_ranker, key=lambda ranker: (ranker != FUSION, ranker))
    return ", ".join(f"{_name(r)} {by_ranker[r] or numbers.NONE}" for r in order)


def _name(ranker: str) -> str:
    return ranker.replace("_", " ")
