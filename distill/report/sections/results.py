"""The verdict: models side by side, task by task, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from distill.evaluate.statistics.item_parts import NO_GROUPS_OF_TASKS, AnswerGroups
from distill.evaluate.statistics.retention import ItemValues
from distill.evaluate.statistics.score_interval import estimate_average_interval
from distill.evaluate.summary import (
    BM25_ROLE,
    Difference,
    Differences,
    ModelFigures,
    Retention,
    Summary,
    average_categories,
    compute_share_of_teacher,
    describe_metric,
    format_metric,
    format_role,
    list_averaged_tasks,
    list_baselines,
    list_categories,
    name_difference,
)
from distill.report import numbers
from distill.report.cells import Cell, Grid
from distill.report.method import describe_method
from distill.report.plots.differences import draw_differences
from distill.report.plots.pareto import draw_pareto
from distill.report.plots.recall import draw_recall
from distill.report.plots.scatter import draw_scatter
from distill.report.score_tables import (
    BASELINES,
    average_measure,
    list_baseline_rows,
    list_measures,
    write_baselines_title,
)
from distill.report.sections.rank_details import (
    list_recalls,
    tabulate_breakdowns,
    tabulate_details,
)

_NOT_WORSE = {True: "yes", False: "not shown", None: numbers.NONE}


@dataclass(frozen=True)
class ResultsSection:
    """The section; `headline` is what stands in large figures beneath the sentence: the figure,
    what it is, and how sure."""

    headline: list[tuple[str, str, str]]
    models: Grid
    categories: Grid | None
    tasks: Grid
    all_tasks: Grid | None
    comparisons: Grid | None
    baselines: Grid | None
    differences: Markup | None
    scatter: Markup | None
    recall: Markup | None
    pareto: Markup | None
    details: Grid | None
    breakdowns: list[Grid]
    without_items: list[str]
    method: str


def make_results(
    summary: Summary,
    items: ItemValues | None = None,
    groups: Mapping[str, AnswerGroups] = NO_GROUPS_OF_TASKS,
) -> ResultsSection:
    """Return the section. Variants and published scores have tables beside those of the run's
    models.

    Args:
        items: the values of single items, where they were kept.
        groups: of queries that ask for the same documents, by task.
    """
    models, quality = summary["models"], describe_metric(summary)
    more = any(_is_aside(model) or model.get("baseline") for model in models.values())
    return ResultsSection(
        headline=_list_headline_figures(summary, items or {}, groups),
        models=_tabulate_models(summary, quality, list_measures(summary)),
        categories=_tabulate_categories(summary),
        tasks=_tabulate_tasks(summary),
        all_tasks=_tabulate_all_tasks(summary) if more else None,
        comparisons=_tabulate_comparisons(summary),
        baselines=_tabulate_baselines(summary),
        differences=draw_differences(_list_differences(summary), list_averaged_tasks(summary)),
        scatter=draw_scatter(items or {}),
        recall=draw_recall(list_recalls(summary)),
        pareto=draw_pareto(models, quality),
        details=tabulate_details(summary),
        breakdowns=tabulate_breakdowns(summary),
        without_items=[t for t, of in summary["tasks"].items() if of["items"] is None],
        method=describe_method(summary),
    )


def _list_differences(summary: Summary) -> dict[str, Differences]:
    """List the differences of the student from the run's other models and BM25, the teacher
    first."""
    others = [
        role
        for role, model in summary["models"].items()
        if role != "student" and not _is_aside(model) and role not in _list_hybrids(summary)
    ]
    others.sort(key=lambda role: role != "teacher")
    return {format_role(r): summary["differences"][name_difference("student", r)] for r in others}


def _list_hybrids(summary: Summary) -> list[str]:
    return [role for role in list_baselines(summary["models"]) if role != BM25_ROLE]


def _tabulate_comparisons(summary: Summary) -> Grid | None:
    """Tabulate how the student stands to each other model at the stated margin, and the smallest
    difference that so many items can show; None for a summary of before verdicts were in it."""
    verdict = summary.get("verdict")
    if verdict is None or not verdict["comparisons"]:
        return None
    margin = verdict["margin"]
    rows = [
        [
            Cell(format_role(role)),
            Cell(of["kind"]),
            Cell(_NOT_WORSE[of["not_worse"]]),
            Cell(numbers.format_score(of["detectable"], 3), of["detectable"]),
            Cell(numbers.format_whole(of["items"]), of["items"]),
        ]
        for role, of in verdict["comparisons"].items()
    ]
    not_worse = f"at most {margin:g} worse"
    header = ["student against", "verdict", not_worse, "smallest visible difference", "items"]
    verdicts = verdict.get("person_verdicts")
    by_person = f", in DCG@10 by {verdicts} verdicts of a person" if verdicts else ""
    return Grid(f"How sure, model by model{by_person}", header, rows, numeric=header[3:])


def _tabulate_baselines(summary: Summary) -> Grid | None:
    rows = [[Cell(text) for text in row] for row in list_baseline_rows(summary)]
    return Grid(write_baselines_title(summary), list(BASELINES), rows, numeric=[]) if rows else None


def _list_headline_figures(
    summary: Summary, items: ItemValues, groups: Mapping[str, AnswerGroups]
) -> list[tuple[str, str, str]]:
    models, retention = summary["models"], summary.get("retention")
    student, teacher = models["student"], models.get("teacher")
    tiles = [
        (
            numbers.format_score(student["score"]),
            f"student's {describe_metric(summary)}",
            _describe_score_interval(summary, items, groups),
        )
    ]
    if teacher is not None:
        tiles += [
            (
                numbers.format_share(compute_share_of_teacher(summary)),
                "of the teacher kept",
                _describe_retention(retention),
            ),
            (
                _format_ratio(student["texts_per_second"], teacher["texts_per_second"]),
                "the teacher's speed",
                _describe_speed_rounds(student, teacher),
            ),
            (_format_ratio(student["bytes"], teacher["bytes"]), "the teacher's size on disk", ""),
        ]
    return [tile for tile in tiles if tile[0] != numbers.NONE]


def _describe_score_interval(
    summary: Summary, items: ItemValues, groups: Mapping[str, AnswerGroups]
) -> str:
    """Describe how far the student's score may be from that on all queries of this kind; empty
    where the scores of single queries are not known."""
    tasks = list_averaged_tasks(summary)
    by_task = {
        task: {item: of["student"] for item, of in items.get(task, {}).items() if "student" in of}
        for task in tasks
    }
    interval = estimate_average_interval(by_task, groups)
    if interval is None:
        return ""
    low, high = map(numbers.format_score, interval)
    return f"{low} to {high} (95 %, {sum(map(len, by_task.values())):,} items)"


def _describe_retention(retention: Retention | None) -> str:
    if retention is None:
        return ""
    low, high = numbers.format_share(retention["low"]), numbers.format_share(retention["high"])
    return f"{low} to {high} (95 %, {retention['items']:,} items)"


def _describe_speed_rounds(student: ModelFigures, teacher: ModelFigures) -> str:
    """Describe the least and the greatest ratio of a round, in which both took turns; a teacher
    behind a server, or an object of the program, has no rounds."""
    rounds = student.get("speed_rounds", []), teacher.get("speed_rounds", [])
    ratios = [ours / theirs for ours, theirs in zip(*rounds, strict=False)]
    if len(ratios) < 2:
        return "one measurement, in turns"
    low, high = numbers.format_ratio(min(ratios)), numbers.format_ratio(max(ratios))
    return f"{low} to {high} in {len(ratios)} rounds, in turns"


def _format_ratio(one: float | None, other: float | None) -> str:
    return numbers.format_ratio(numbers.compute_ratio(one, other))


def _is_aside(model: ModelFigures) -> bool:
    return model["variant_of"] is not None or model["published"]


def _tabulate_models(summary: Summary, quality: str, measures: Sequence[str]) -> Grid:
    models = summary["models"]
    teacher = models["teacher"]["score"] if "teacher" in models else None
    header = [
        "model",
        quality,
        "of the teacher",
        *map(format_metric, measures),
        "parameters",
        "on disk",
        "dimensions",
        "texts/s",
        "ms for one text",
        "index of 10⁶",
    ]
    rows = []
    for role, model in models.items():
        kept = numbers.compute_ratio(model["score"], teacher)
        rows.append(
            [
                Cell(format_role(role), note=_name_kind(model)),
                _make_score_cell(model["score"]),
                Cell(numbers.format_share(kept), kept),
                *(
                    _make_score_cell(average_measure(summary, model, measure))
                    for measure in measures
                ),
                Cell(numbers.format_short(model["parameters"]), model["parameters"]),
                Cell(numbers.format_size(model["bytes"]), model["bytes"]),
                Cell(numbers.format_whole(model["dimensions"]), model["dimensions"]),
                _make_time_cell(model["texts_per_second"], model.get("speed_rounds", [])),
                _make_time_cell(model["latency_ms"], model.get("latency_quartiles", [])),
                Cell(
                    numbers.format_size(model["index_bytes_per_million"]),
                    model["index_bytes_per_million"],
                ),
            ]
        )
    return Grid("Models side by side", header, rows, numeric=header[1:])


def _make_time_cell(value: float | None, spread: Sequence[float]) -> Cell:
    """Make a cell of a measured time or rate, with the least and the greatest beneath it."""
    if value is None or len(spread) < 2:
        return Cell(numbers.format_tenths(value), value)
    low, high = numbers.format_tenths(min(spread)), numbers.format_tenths(max(spread))
    return Cell(numbers.format_tenths(value), value, f"{low} to {high}")


def _name_kind(model: ModelFigures) -> str:
    if model.get("baseline"):
        return "no training"
    if model["published"]:
        return f"published, mteb {model['mteb']}"
    return f"variant of {model['variant_of']}" if model["variant_of"] else model["model"]


def _tabulate_categories(summary: Summary) -> Grid | None:
    """Tabulate means over a category's tasks, and the mean over categories; None for one
    category."""
    categories = list_categories(summary)
    if len(categories) < 2:
        return None
    rows = []
    for role, model in summary["models"].items():
        means = [model["by_category"].get(category) for category in categories]
        over = average_categories(summary, role)
        rows.append([Cell(format_role(role)), *(_make_score_cell(mean) for mean in [*means, over])])
    header = ["model", *categories, "mean over categories"]
    return Grid("Means by category", header, rows, numeric=header[1:])


def _tabulate_tasks(summary: Summary) -> Grid:
    """Make a row for each task: the scores of base, student, teacher and BM25, then the student's
    differences. Hybrids stand in the table of all models: with them this one is wider than a
    screen."""
    hybrids = _list_hybrids(summary)
    models = {
        role: model
        for role, model in summary["models"].items()
        if not _is_aside(model) and role not in hybrids
    }
    pairs = _list_differences(summary)
    header = ["task", "category", *map(format_role, models)]
    for other in pairs:
        header += [f"student − {other}", f"p, student − {other}"]
    rows = []
    for task, of in summary["tasks"].items():
        row = [Cell(task), Cell(of["category"], note=format_metric(of["metric"]))]
        row += [_make_score_cell(model["tasks"].get(task)) for model in models.values()]
        for differences_from in pairs.values():
            row += _make_difference_cells(differences_from["tasks"][task])
        rows.append(row)
    return Grid("Student beside teacher and base, by task", header, rows, numeric=header[2:])


def _make_difference_cells(of: Difference) -> list[Cell]:
    p = of["p"] if of["p_holm"] is None else of["p_holm"]
    counts = [str(count) for count in (of["wins"], of["ties"], of["losses"]) if count is not None]
    return [
        Cell(
            numbers.format_signed(of["difference"]),
            of["difference"],
            numbers.format_interval(of),
        ),
        Cell(numbers.format_probability(p), p, " / ".join(counts)),
    ]


def _tabulate_all_tasks(summary: Summary) -> Grid:
    models = summary["models"]
    rows = [
        [Cell(task), *(_make_score_cell(model["tasks"].get(task)) for model in models.values())]
        for task in summary["tasks"]
    ]
    header = ["task", *map(format_role, models)]
    return Grid("All models by task", header, rows, header[1:])


def _make_score_cell(value: float | None) -> Cell:
    return Cell(numbers.format_score(value), value)
