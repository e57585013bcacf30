"""The verdict: base models, student and teacher on the same tasks, and their speed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from distill.errors import UserError
from distill.evaluate.contender import Contender
from distill.evaluate.evaluate import TaskScore, load_data, score_tasks
from distill.evaluate.significance import difference
from distill.evaluate.speed import measure_speed
from distill.evaluate.tasks import document_texts

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

Summary = dict[str, Any]
"""What `summary.json` holds: a model's figures by its role (`base`, `base-2`, ..., `student`,
`teacher`; null without a teacher), `kept`, and the differences `student_minus_ROLE`."""


def compare(
    contenders: Mapping[str, Contender],
    tasks: "Sequence[AbsTask]",
    out: Path,
    batch_size: int = 64,
    speed_texts: int = 256,
    rounds: int = 3,
    seed: int = 0,
) -> Summary:
    """Evaluate every contender on every task, and measure their speed on the same documents.

    Args:
        contenders: by role: `student`, and any of `teacher`, `base`, `base-2`, ...
        out: mteb's results go to `out/results`, and are not computed again where they are there.
        speed_texts: documents of the first task on which texts a second are measured.

    Raises:
        UserError: without a task or a student, or where a task's data cannot be read.
    """
    if not tasks:
        raise UserError("compare", "no task is named", "name at least one, for example SciFact")
    if "student" not in contenders:
        raise UserError("compare", "no student is named", "give the student's folder or hub id")
    for task in tasks:
        load_data(task)
    roles = _in_order(contenders)
    scores = {role: score_tasks(contenders[role], tasks, out, batch_size) for role in roles}
    texts = document_texts(tasks[0], speed_texts)
    models = {role: contenders[role].model for role in roles}
    speed = measure_speed(models, texts, rounds)
    summary: Summary = {
        role: _figures(contenders[role], scores[role], speed[role]) for role in roles
    }
    summary.setdefault("teacher", None)
    summary["kept"] = _kept(summary)
    for role in roles:
        if role != "student":
            gap = difference(scores["student"], scores[role], seed)
            summary[f"student_minus_{role}"] = gap
    return summary


def models_of(summary: Summary) -> dict[str, dict[str, Any]]:
    """The figures by role, in the order of the table: base models, student, teacher."""
    roles = [role for role, value in summary.items() if _is_model(role) and value]
    return {role: summary[role] for role in _in_order(roles)}


def render(summary: Summary) -> Table:
    """The verdict as a table for the screen."""
    view = Table(*COLUMNS)
    for column in view.columns[1:]:
        column.justify = "right"
    for row in rows(summary):
        view.add_row(*row)
    return view


COLUMNS = ("", "nDCG@10", "share of the teacher kept", "parameters", "dimensions", "texts/s")


def rows(summary: Summary) -> list[list[str]]:
    """The table's cells, a row a model."""
    teacher = summary["teacher"]
    return [
        [
            role.replace("base", "base model"),
            f"{figures['ndcg_at_10']:.4f}",
            _share(figures["ndcg_at_10"], teacher["ndcg_at_10"] if teacher else None),
            _short(figures["parameters"]),
            str(figures["dimensions"]),
            f"{figures['texts_per_second']:.1f}",
        ]
        for role, figures in models_of(summary).items()
    ]


def sentence(summary: Summary) -> str:
    """The verdict in words; a student that is worse than its base model is said first."""
    student, teacher = summary["student"], summary["teacher"]
    bases = {role: f for role, f in models_of(summary).items() if role.startswith("base")}
    parts = []
    if summary["kept"] is not None:
        parts.append(
            f"The student keeps {summary['kept']:.1%} of its teacher's nDCG@10 "
            f"({student['ndcg_at_10']:.4f} of {teacher['ndcg_at_10']:.4f}"
            f"{_interval(summary.get('student_minus_teacher'))})"
            f", with {student['parameters'] / teacher['parameters']:.2f} times the parameters "
            f"and {student['texts_per_second'] / teacher['texts_per_second']:.2f} times the speed."
        )
    else:
        parts.append(f"The student reaches nDCG@10 {student['ndcg_at_10']:.4f}.")
    for role, base in bases.items():
        better = student["ndcg_at_10"] > base["ndcg_at_10"]
        gap = _interval(summary.get(f"student_minus_{role}"))
        text = f"better than the {_words(role)} ({base['ndcg_at_10']:.4f}{gap})."
        if better:
            parts.append(f"It is {text}")
        else:
            parts.insert(0, f"The student is NO {text}")
    return " ".join(parts)


def _figures(contender: Contender, scores: Sequence[TaskScore], speed: float) -> dict[str, Any]:
    return {
        "model": contender.name,
        "revision": contender.revision,
        "ndcg_at_10": round(sum(s.score for s in scores) / len(scores), 6),
        "tasks": {s.task: s.score for s in scores},
        "parameters": contender.parameters,
        "dimensions": contender.dimensions,
        "bytes": contender.bytes_on_disk,
        "texts_per_second": round(speed, 2),
    }


def _kept(summary: Summary) -> float | None:
    teacher = summary["teacher"]
    if not teacher or not teacher["ndcg_at_10"]:
        return None
    return round(summary["student"]["ndcg_at_10"] / teacher["ndcg_at_10"], 4)


def _is_model(role: str) -> bool:
    return role in ("student", "teacher") or role.startswith("base")


def _in_order(roles: Mapping[str, Any] | Sequence[str]) -> list[str]:
    last = {"student": 1, "teacher": 2}
    return sorted(roles, key=lambda role: (last.get(role, 0), len(role), role))


def _share(score: float, teacher: float | None) -> str:
    return f"{score / teacher:.1%}" if teacher else "-"


def _short(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count >= 100_000 else f"{count:,}"


def _interval(gap: dict[str, Any] | None) -> str:
    if gap is None:
        return ""
    low, high = gap["low"], gap["high"]
    return (
        f"; difference {gap['difference']:+.4f}, 95 % interval {low:+.4f} to {high:+.4f} "
        f"over {gap['queries']} queries"
    )


def _words(role: str) -> str:
    return role.replace("base", "base model").replace("-", " ")
