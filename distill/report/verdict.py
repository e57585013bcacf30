"""The verdict in words."""

from distill.corpus.held_out import JUDGED
from distill.evaluate.summary import (
    BM25_ROLE,
    Comparison,
    Difference,
    ModelFigures,
    Summary,
    compute_share_of_teacher,
    describe_metric,
    format_role,
    list_averaged_tasks,
    list_bases,
    name_difference,
    name_hybrid,
)
from distill.evaluate.verdict import get_verdict, judge_difference, list_tasks_without_bm25

SURE = 0.05
_STANDING = {
    "better": "better than",
    "level": "level with",
    "worse": "worse than",
    "unclear": "not told apart from",
}


def write_headline(summary: Summary) -> str:
    """Write the verdict in one line: what to ship, and how the student stands to its base, to BM25
    and to its teacher."""
    verdict = get_verdict(summary)
    compared = verdict["comparisons"]
    others = [*list_bases(compared), *(r for r in (BM25_ROLE, "teacher") if r in compared)]
    standings = [f"{_STANDING[compared[role]['kind']]} {_name(role)}" for role in others]
    advice = f"Ship {_name(verdict['system'])}"
    if verdict["advice"] == "hybrid":
        advice = f"Ship the hybrid, {format_role(verdict['system'])}"
    averaged = list_averaged_tasks(summary)
    if JUDGED in averaged:
        alone = len(averaged) == 1
        advice = f"{'By' if alone else 'In part by'} an LLM's judgments: {advice}"
    return f"{advice}: the student is {_join(standings)}." if standings else f"{advice}."


def explain_verdict(summary: Summary) -> str:
    """Write what the verdict's words rest on: the margin of "level", what could not be told apart
    and which differences would have shown, and what fusion with BM25 reaches."""
    verdict = get_verdict(summary)
    compared = verdict["comparisons"]
    known = [*list_bases(compared), *(r for r in (BM25_ROLE, "teacher") if r in compared)]
    parts = [_explain_unclear(role, compared[role], verdict["margin"]) for role in known]
    if any(compared[role]["kind"] == "level" for role in known):
        parts.append(f"Level means that the 95 % interval lies within {verdict['margin']:g}.")
    hybrid = summary["models"].get(name_hybrid("student"))
    if hybrid is not None and BM25_ROLE in compared:
        gap = compared[name_hybrid("student")]
        parts.append(
            f"The student less BM25 is {_describe(compared[BM25_ROLE])}; the student less the "
            f"student fused with BM25 is {_describe(gap)}."
        )
    if JUDGED in list_averaged_tasks(summary):
        parts.append(
            f"On the task {JUDGED} an LLM says which passages answer a query: the verdict is as "
            "good as this judge, which `distill judge RUN` lets a person check."
        )
    elif JUDGED in summary["tasks"]:
        parts.append(_describe_judged_task(summary, [*list_bases(compared), "teacher"]))
    if without := list_tasks_without_bm25(summary):
        parts.append(f"BM25 and hybrids have no score on {', '.join(without)}.")
    return " ".join(filter(None, parts))


def _describe_judged_task(summary: Summary, others: list[str]) -> str:
    """Describe what the task whose answers an LLM judged says, where the verdict is of other
    tasks."""
    gaps = {
        role: summary["differences"][name_difference("student", role)]["tasks"][JUDGED]
        for role in others
        if role in summary["models"]
    }
    standings = [
        f"{_describe(judge_difference(gap))} beside {_name(role)}" for role, gap in gaps.items()
    ]
    items = summary["tasks"][JUDGED]["items"]
    return (
        f"On the task {JUDGED}, whose answers an LLM chose and which is no part of this verdict, "
        f"the student is {_join(standings)}, over {items} queries."
    )


def _explain_unclear(role: str, of: Comparison, margin: float) -> str:
    if of["kind"] != "unclear" or of["detectable"] is None or of["items"] is None:
        return ""
    beyond = f"; it is at most {margin:g} worse" if of["not_worse"] else ""
    return (
        f"Beside {_name(role)} {of['items']} items would show a difference of "
        f"{of['detectable']:.3f} or more{beyond}."
    )


def _describe(of: Comparison) -> str:
    if of["difference"] is None:
        return "no difference known"
    if of["low"] is None or of["high"] is None:
        return f"{of['difference']:+.4f}"
    return f"{of['difference']:+.4f} [{of['low']:+.4f}, {of['high']:+.4f}]"


def _name(role: str) -> str:
    """Name a role within a sentence."""
    own = role in ("student", "teacher") or role.startswith("base")
    return f"the {format_role(role)}" if own else format_role(role)


def _join(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def write_verdict(summary: Summary) -> str:
    """Write the verdict in words; a student that is no better than a base model is said first."""
    student, teacher = summary["models"]["student"], summary["models"].get("teacher")
    kept = compute_share_of_teacher(summary)
    parts = [
        _compare_with_teacher(summary, student, teacher, kept)
        if teacher is not None and kept is not None
        else f"The student reaches {_name_metric(summary)} {student['score']:.4f}."
    ]
    for role in list_bases(summary["models"]):
        base = summary["models"][role]
        gap = summary["differences"][name_difference("student", role)]["overall"]
        text = f"the {format_role(role)} ({base['score']:.4f}{_describe_certainty(summary, gap)})."
        if (gap["difference"] or 0) <= 0:
            parts.insert(0, f"The student is NO better than {text}")
        elif gap["p"] is not None and gap["p"] > SURE:
            parts.append(f"Its score is higher than that of {text}")
        else:
            parts.append(f"It is better than {text}")
    return " ".join([*parts, *filter(None, [explain_verdict(summary)])])


def _compare_with_teacher(
    summary: Summary, student: ModelFigures, teacher: ModelFigures, kept: float
) -> str:
    gap = summary["differences"][name_difference("student", "teacher")]["overall"]
    size, sure = _list_ratios(student, teacher), summary.get("retention")
    between = f" (95 % interval {sure['low']:.1%} to {sure['high']:.1%})" if sure else ""
    return (
        f"The student keeps {kept:.1%}{between} of its teacher's {_name_metric(summary)} "
        f"({student['score']:.4f} of {teacher['score']:.4f}{_describe_certainty(summary, gap)})"
        f"{', with ' if size else ''}{size}."
    )


def _name_metric(summary: Summary) -> str:
    name, tasks = describe_metric(summary), list_averaged_tasks(summary)
    return name if len(tasks) == 1 or name.startswith("mean") else f"mean {name}"


def _list_ratios(student: ModelFigures, teacher: ModelFigures) -> str:
    costs = {
        "the parameters": (student["parameters"], teacher["parameters"]),
        "the size on disk": (student["bytes"], teacher["bytes"]),
        "the speed": (student["texts_per_second"], teacher["texts_per_second"]),
    }
    return _join([f"{a / b:.2f} times {what}" for what, (a, b) in costs.items() if a and b])


def _describe_certainty(summary: Summary, gap: Difference) -> str:
    if gap["low"] is None or gap["high"] is None or gap["p"] is None:
        averaged = list_averaged_tasks(summary).items()
        without = [task for task, of in averaged if of["items"] is None]
        because = f": no values of single items on {', '.join(without)}" if without else ""
        return f"; difference {gap['difference']:+.4f}, no interval{because}"
    chance = ", which may be chance" if gap["p"] > SURE else ""
    return (
        f"; difference {gap['difference']:+.4f}, 95 % interval {gap['low']:+.4f} to "
        f"{gap['high']:+.4f} over {gap['items']} {_name_items(summary)}, "
        f"{format_p_value(gap['p'])}{chance}"
    )


def _name_items(summary: Summary) -> str:
    categories = {of["category"] for of in list_averaged_tasks(summary).values()}
    if categories <= {"STS", "PairClassification"}:
        return "pairs of texts"
    return "queries" if categories <= {"Retrieval", "Reranking"} else "queries and texts"


def format_p_value(p: float) -> str:
    """Format a p-value, such as `p = 0.012` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
