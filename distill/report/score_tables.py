"""The summary as tables, for the screen and for the plain-text report."""

from collections.abc import Iterable, Sequence
from statistics import mean

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from distill.evaluate.summary import (
    BM25_ROLE,
    Difference,
    Differences,
    ModelFigures,
    Summary,
    average_categories,
    describe_metric,
    format_metric,
    format_role,
    list_averaged_tasks,
    list_baselines,
    list_categories,
    name_difference,
    name_hybrid,
)
from distill.report.facts import format_p_value
from distill.report.method import describe_method

WIDTH = 100
UNKNOWN = "-"
_WITHOUT_COLUMN = {"map_at_10"}
"""A terminal of 80 columns has no room for it; the report has MAP in a table of its own."""


def render(summary: Summary) -> RenderableType:
    """Render the verdict's tables for the screen, no wider than 100 columns: how good the models
    are and what they cost; scores by task; the student's difference from each other model; and what
    its variants lose."""
    header, cells = list_columns(summary), list_model_rows(summary)
    costs = 3 + len(list_measures(summary))
    measured = [line for line in cells if any(cell != UNKNOWN for cell in line[costs:])]
    parts: list[RenderableType] = [
        _make_table("", header[:costs], [line[:costs] for line in cells]),
        _make_table("", ["", *header[costs:]], [[line[0], *line[costs:]] for line in measured]),
        _make_table("Scores", *tabulate_scores(summary)),
    ]
    for role in list_opponents(summary):
        parts.append(
            _make_table(f"Student - {format_role(role)}", BY_TASK, list_task_rows(summary, role))
        )
    if beside := list_baseline_rows(summary):
        parts.append(_make_table(write_baselines_title(summary), BASELINES, beside))
    if lost := list_variant_rows(summary):
        parts.append(_make_table("Variants - student", VARIANTS, lost))
    parts += [Text(f"{line}\n") for line in list_notes(summary)]
    return Constrain(Group(*parts), WIDTH)


def list_notes(summary: Summary) -> list[str]:
    """List what the figures of the tables leave out or take from elsewhere, and how sure figures
    were made."""
    notes = []
    without = [task for task, of in summary["tasks"].items() if of["items"] is None]
    if without:
        notes.append(
            "No values of single items, hence no interval there or of a mean over them: "
            f"{', '.join(without)}."
        )
    published = {r: m["mteb"] for r, m in summary["models"].items() if m["published"]}
    if published:
        versions = ", ".join(f"{role} (mteb {version})" for role, version in published.items())
        notes.append(f"Published results, not measured here by mteb {summary['mteb']}: {versions}.")
    return [*notes, *filter(None, [describe_method(summary)])]


def list_columns(summary: Summary) -> list[str]:
    """Return the header of the table of models."""
    return [
        "",
        describe_metric(summary),
        "of the teacher",
        *map(format_metric, list_measures(summary)),
        "parameters",
        "on disk",
        "dims",
        "texts/s",
        "ms/text",
        "index of 1M",
    ]


def list_model_rows(summary: Summary) -> list[list[str]]:
    """Make a row for each model: score, share of the teacher's, size, texts a second of many
    together, milliseconds for a single one, an index of a million passages."""
    teacher, measures = summary["models"].get("teacher"), list_measures(summary)
    return [
        [
            format_role(role),
            _format_number(model["score"], ".4f"),
            _format_share(model["score"], teacher["score"] if teacher else None),
            *_format_numbers(average_measure(summary, model, measure) for measure in measures),
            _format_parameters(model["parameters"]),
            _format_bytes(model["bytes"]),
            _format_number(model["dimensions"], ",d"),
            _format_number(model["texts_per_second"], ".1f"),
            _format_number(model["latency_ms"], ".1f"),
            _format_bytes(model["index_bytes_per_million"]),
        ]
        for role, model in summary["models"].items()
    ]


def average_measure(summary: Summary, model: ModelFigures, measure: str) -> float | None:
    """Average a measure of rankings over those of the averaged tasks that have it."""
    by_task = model.get("measures", {})
    tasks = [by_task[task] for task in list_averaged_tasks(summary) if task in by_task]
    known = [of[measure] for of in tasks if measure in of]
    return mean(known) if known else None


def list_measures(summary: Summary) -> list[str]:
    """List the measures of rankings that a table has columns for beside the main score."""
    return list(
        dict.fromkeys(
            measure
            for model in summary["models"].values()
            for of_task in model.get("measures", {}).values()
            for measure in of_task
            if measure not in _WITHOUT_COLUMN
            and any(of["metric"] != measure for of in summary["tasks"].values())
        )
    )


def tabulate_scores(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: each task's scores, and the means that mteb makes of them: of each
    category and over these, where there are several, and over tasks. Of the hybrids the student's
    alone has a column: a terminal has room for no more."""
    shown = (BM25_ROLE, name_hybrid("student"))
    models = {
        role: model
        for role, model in summary["models"].items()
        if model["variant_of"] is None and (role in shown or not model.get("baseline"))
    }
    cells = [
        [
            task,
            format_metric(of["metric"]),
            *_format_numbers(m["tasks"].get(task) for m in models.values()),
        ]
        for task, of in summary["tasks"].items()
    ]
    if len(list_categories(summary)) > 1:
        for category in list_categories(summary):
            means = _format_numbers(m["by_category"].get(category) for m in models.values())
            cells.append([f"mean ({category})", "", *means])
        over = _format_numbers(average_categories(summary, role) for role in models)
        cells.append(["mean (task type)", "", *over])
    if len(list_averaged_tasks(summary)) > 1:
        cells.append(["mean (task)", "", *_format_numbers(m["score"] for m in models.values())])
    return ["task", "metric", *map(format_role, models)], cells


BY_TASK = ("task", "difference, 95 % interval", "p (Holm)", "won/tied/lost")


def list_task_rows(summary: Summary, role: str) -> list[list[str]]:
    """Make a row for each task: the student's difference, p after Holm's correction over the tasks,
    and the items won, tied and lost; then the mean over the averaged tasks, where they are
    several."""
    gap = summary["differences"][name_difference("student", role)]
    cells = [[task, *_format_difference(of)] for task, of in gap["tasks"].items()]
    if len(list_averaged_tasks(summary)) == 1:
        return cells
    return [*cells, ["mean (task)", *_format_difference(gap["overall"])]]


def list_opponents(summary: Summary) -> list[str]:
    """List the models whose difference from the student has a table by task: all but variants and
    baselines."""
    return [
        role
        for role, model in summary["models"].items()
        if role != "student" and model["variant_of"] is None and not model.get("baseline")
    ]


def write_baselines_title(summary: Summary) -> str:
    """Write what the table beside BM25 and hybrids shows, and how these hybrids rank."""
    how = "weighted sums of scores"
    if summary.get("fused_by_ranks"):
        how = "reciprocal ranks, of an earlier version: distill run measures them anew"
    return f"Beside BM25 and hybrids ({how}), mean over retrieval tasks"


BASELINES = ("pair", "difference, 95 % interval", "p", "won/tied/lost")


def list_baseline_rows(summary: Summary) -> list[list[str]]:
    """Make a row for each pair with BM25 or a hybrid in it: the difference over retrieval tasks."""
    baselines = set(list_baselines(summary["models"]))
    differences = summary["differences"]
    pairs = [
        (one, other)
        for one in summary["models"]
        for other in summary["models"]
        if {one, other} & baselines and name_difference(one, other) in differences
    ]
    return [
        [
            name_difference(format_role(one), format_role(other)),
            *_format_difference(differences[name_difference(one, other)]["overall"])[:2],
            _count_items(summary, differences[name_difference(one, other)]),
        ]
        for one, other in pairs
    ]


def _count_items(summary: Summary, of: Differences) -> str:
    """Count the items won, tied and lost over all averaged tasks."""
    tasks = [of["tasks"][task] for task in list_averaged_tasks(summary) if task in of["tasks"]]
    known = [task for task in tasks if task["wins"] is not None]
    totals = [sum(task[key] or 0 for task in known) for key in ("wins", "ties", "losses")]
    return "/".join(map(str, totals)) if known else UNKNOWN


VARIANTS = ("variant", "difference, 95 % interval", "p")


def list_variant_rows(summary: Summary) -> list[list[str]]:
    """Make a row for each variant: its difference from the student as it is, over all tasks."""
    variants = {r: m["variant_of"] for r, m in summary["models"].items() if m["variant_of"]}
    gaps = {
        role: summary["differences"][name_difference(role, of)] for role, of in variants.items()
    }
    return [[role, *_format_difference(gap["overall"])[:2]] for role, gap in gaps.items()]


def _make_table(title: str, header: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    """Make a table for the screen: numbers are never broken; a name is, and a header between
    words."""
    view = Table(
        title=Text(title) if title else None,
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    widths = [
        max([*(len(line[number]) for line in cells), *(min(len(w), 12) for w in name.split())])
        for number, name in enumerate(header)
        if number
    ]
    between = 2 * (len(widths) + 1)
    view.add_column(Text(header[0]), overflow="fold", max_width=WIDTH - between - sum(widths))
    for name, width in zip(header[1:], widths, strict=True):
        label = Text(name.replace(" + ", "\n+ "))  # a hybrid's, which is wide
        view.add_column(label, justify="right", overflow="fold", min_width=width)
    for line in cells:
        # As text: a model's name is no markup.
        view.add_row(*map(Text, line))
    return view


def _format_difference(gap: Difference) -> list[str]:
    """Format a difference with its interval, p, and the counts."""
    difference = _format_number(gap["difference"], "+.4f")
    if gap["low"] is not None and gap["high"] is not None:
        difference += f" [{gap['low']:+.4f}, {gap['high']:+.4f}]"
    p = gap["p"] if gap["p_holm"] is None else gap["p_holm"]
    counts = (gap["wins"], gap["ties"], gap["losses"])
    known = [str(count) for count in counts if count is not None]
    p_value = UNKNOWN if p is None else format_p_value(p).removeprefix("p ").removeprefix("= ")
    return [difference, p_value, "/".join(known) or UNKNOWN]


def _format_numbers(values: Iterable[float | None]) -> list[str]:
    return [_format_number(value, ".4f") for value in values]


def _format_number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def _format_share(score: float | None, teacher: float | None) -> str:
    return f"{score / teacher:.1%}" if score is not None and teacher else UNKNOWN


def _format_parameters(count: int | None) -> str:
    if count is None:
        return UNKNOWN
    return f"{count / 1e6:.1f}M" if count >= 100_000 else f"{count:,}"


def _format_bytes(count: int | None) -> str:
    """Format bytes in decimal units, as disks have them."""
    if count is None:
        return UNKNOWN
    size, unit = next(
        (s, u) for s, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if count >= s or u == "kB"
    )
    return f"{count / size:.1f} {unit}"
