"""Query by query: the student's score against the teacher's."""

from collections import Counter
from collections.abc import Mapping

from markupsafe import Markup

from distill.evaluate.statistics.retention import ItemValues
from distill.report.plots.svg import MUTED, SERIES, apply_style, make_figure, to_svg

_MOST_TASKS = 6
_MARKERS = "osD^vP"


def draw_scatter(items: ItemValues) -> Markup | None:
    """Draw a dot for each pair of scores, as large as there are queries with it; None where no
    query has a score of both. Above the diagonal the student is better."""
    pairs = {task: _count_pairs(of) for task, of in list(items.items())[:_MOST_TASKS]}
    known = {task: counts for task, counts in pairs.items() if counts}
    if not known:
        return None
    with apply_style("scatter"):
        figure = make_figure(4.2, 4.0)
        axes = figure.subplots()
        values = [value for counts in known.values() for pair in counts for value in pair]
        low, high = min(0.0, *values), max(1.0, *values)
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle="--", zorder=1)
        for number, (task, counts) in enumerate(known.items()):
            axes.scatter(
                [teacher for teacher, _ in counts],
                [student for _, student in counts],
                [16 * count**0.6 for count in counts.values()],
                color=SERIES[number % len(SERIES)],
                marker=_MARKERS[number % len(_MARKERS)],
                alpha=0.55,
                label=task,
                linewidths=0,
                clip_on=False,
            )
        axes.set_xlabel("teacher's score of a query")
        axes.set_ylabel("student's score")
        axes.set_aspect("equal")
        if len(known) > 1:
            figure.legend(loc="outside lower center", ncols=2)
        return to_svg(
            figure, f"The student's scores against the teacher's: {_describe_panels(known)}."
        )


def _count_pairs(items: Mapping[str, Mapping[str, float]]) -> Counter[tuple[float, float]]:
    return Counter(
        (round(of["teacher"], 2), round(of["student"], 2))
        for of in items.values()
        if "teacher" in of and "student" in of
    )


def _describe_panels(known: Mapping[str, Counter[tuple[float, float]]]) -> str:
    ahead = sum(n for of in known.values() for (t, s), n in of.items() if s > t)
    behind = sum(n for of in known.values() for (t, s), n in of.items() if s < t)
    equal = sum(n for of in known.values() for (t, s), n in of.items() if s == t)
    return f"better on {ahead} queries, worse on {behind}, alike on {equal}"
