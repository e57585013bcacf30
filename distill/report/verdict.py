"""The verdict in words."""

from distill.evaluate.summary import (
    Difference,
    ModelFigures,
    Summary,
    describe_metric,
    format_role,
    list_bases,
    name_difference,
)

SURE = 0.05


def sentence(summary: Summary) -> str:
    """The verdict in words; a student that is no better than a base model is said first."""
    student, teacher = summary["models"]["student"], summary["models"].get("teacher")
    parts = [
        _beside_teacher(summary, student, teacher)
        if teacher is not None and summary["kept"] is not None
        else f"The student reaches {_metric(summary)} {student['score']:.4f}."
    ]
    for role in list_bases(summary["models"]):
        base = summary["models"][role]
        gap = summary["differences"][name_difference("student", role)]["overall"]
        text = (
            f"better than the {format_role(role)} ({base['score']:.4f}{_how_sure(summary, gap)})."
        )
        if (gap["difference"] or 0) > 0:
            parts.append(f"It is {text}")
        else:
            parts.insert(0, f"The student is NO {text}")
    return " ".join(parts)


def _beside_teacher(summary: Summary, student: ModelFigures, teacher: ModelFigures) -> str:
    gap = summary["differences"][name_difference("student", "teacher")]["overall"]
    size = _ratios(student, teacher)
    return (
        f"The student keeps {summary['kept']:.1%} of its teacher's {_metric(summary)} "
        f"({student['score']:.4f} of {teacher['score']:.4f}{_how_sure(summary, gap)})"
        f"{', with ' if size else ''}{size}."
    )


def _metric(summary: Summary) -> str:
    name = describe_metric(summary)
    return name if len(summary["tasks"]) == 1 or name.startswith("mean") else f"mean {name}"


def _ratios(student: ModelFigures, teacher: ModelFigures) -> str:
    told = {
        "the parameters": (student["parameters"], teacher["parameters"]),
        "the size on disk": (student["bytes"], teacher["bytes"]),
        "the speed": (student["texts_per_second"], teacher["texts_per_second"]),
    }
    known = [f"{a / b:.2f} times {what}" for what, (a, b) in told.items() if a and b]
    return " and ".join(filter(None, [", ".join(known[:-1]), *known[-1:]]))


def _how_sure(summary: Summary, gap: Difference) -> str:
    if gap["low"] is None or gap["high"] is None or gap["p"] is None:
        without = [task for task, of in summary["tasks"].items() if of["items"] is None]
        because = f": no values of single items on {', '.join(without)}" if without else ""
        return f"; difference {gap['difference']:+.4f}, no interval{because}"
    chance = ", which may be chance" if gap["p"] > SURE else ""
    return (
        f"; difference {gap['difference']:+.4f}, 95 % interval {gap['low']:+.4f} to "
        f"{gap['high']:+.4f} over {gap['items']} {_items(summary)}, {p_value(gap['p'])}{chance}"
    )


def _items(summary: Summary) -> str:
    categories = {of["category"] for of in summary["tasks"].values()}
    if categories <= {"STS", "PairClassification"}:
        return "pairs of texts"
    return "queries" if categories <= {"Retrieval", "Reranking"} else "queries and texts"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
