"""The verdict of a comparison, the student's rank and what to ship, from differences with
intervals."""

from collections.abc import Collection, Mapping
from statistics import NormalDist
from typing import Any

from distill.evaluate.summary import (
    BM25_ROLE,
    Advice,
    Comparison,
    Difference,
    Differences,
    JudgeCheck,
    Kind,
    Origin,
    Summary,
    UnjudgedReach,
    Verdict,
    list_averaged_tasks,
    list_baselines,
    list_bases,
    name_difference,
    name_hybrid,
)

MARGIN = 0.01
"""The difference of nDCG@10 (or of another score) that does not matter, where none is set."""
_POWER = NormalDist().inv_cdf(0.8)
_CERTAINTY = NormalDist().inv_cdf(0.975)
_FROM_WORST: tuple[Kind, ...] = ("worse", "unclear", "level", "better")
_SMALLER = 0.95
"""A student of fewer bytes than this share of its base's is worth shipping where both are level."""

PAIRS = (
    ("base", BM25_ROLE),
    ("base", name_hybrid("base")),
    (name_hybrid("student"), name_hybrid("base")),
    (name_hybrid("student"), name_hybrid("teacher")),
    (name_hybrid("student"), BM25_ROLE),
    (name_hybrid("base"), BM25_ROLE),
)
"""Differences that the advice needs beside the student's from everyone else."""


def get_verdict(summary: Summary) -> Verdict:
    """Get the verdict of a summary; of one that an earlier version wrote, judge now."""
    return summary.get("verdict") or build_verdict(summary)


def compare_with_base(summary: Summary) -> Comparison | None:
    """Judge the student beside its base; None where they were not compared."""
    if verdict := summary.get("verdict"):
        return verdict["comparisons"].get("base")
    return _compare(summary["differences"], "student", "base", MARGIN)


def draw_verdict(
    summary: Summary,
    origins: Mapping[str, Origin],
    check: JudgeCheck | None,
    queries_alone: bool = False,
) -> Verdict:
    """Draw a summary's verdict by where the answers of its averaged tasks come from: by a person's
    verdicts, where it rests on an LLM that a person has checked; with all that passages which
    nobody judged could change, where it rests on an LLM alone; and without a word on BM25, where
    documents are searched for by sentences.

    Args:
        queries_alone: as of `build_verdict`.
    """
    verdict = get_verdict(summary)
    by_person = check is not None and set(origins.values()) == {"llm and person"}
    decides_bm25 = "sentences" not in origins.values()
    corrected = summary
    if check and by_person:
        corrected = _take_corrected(summary, check)
    elif check and set(origins.values()) == {"llm"}:
        corrected = _widen_differences(summary, check)
    if corrected is not summary or not decides_bm25:
        verdict = build_verdict(corrected, verdict["margin"], queries_alone, decides_bm25)
    if corrected is not summary and not by_person:
        verdict = _leave_out_detectable(verdict)
    drawn: Verdict = {**verdict, "rests_on": dict(origins), "decides_bm25": decides_bm25}
    if check and by_person:
        drawn["person_verdicts"] = check["verdicts"]
    return drawn


def _take_corrected(summary: Summary, check: JudgeCheck) -> Summary:
    """Take the differences that a person's verdicts correct in the place of the LLM's."""
    unknown = dict.fromkeys(("p", "p_holm", "wins", "ties", "losses"))
    differences: dict[str, Any] = {
        name: {
            "overall": {
                "difference": of["difference"],
                "low": of["low"],
                "high": of["high"],
                "items": check["queries"],
                **unknown,
            },
            "tasks": {},
        }
        for name, of in check["differences"].items()
    }
    return {**summary, "differences": differences}


def _widen_differences(summary: Summary, check: JudgeCheck) -> Summary:
    """Widen the LLM's differences by what nobody judged; the summary itself where that is
    nothing."""
    reach = check.get("ndcg_reach")
    if not reach:
        return summary
    differences: dict[str, Differences] = {
        name: {**of, "overall": widen_difference(of["overall"], reach.get(name))}
        for name, of in summary["differences"].items()
    }
    return {**summary, "differences": differences}


def _leave_out_detectable(verdict: Verdict) -> Verdict:
    """Leave out what so many queries would show: more of them do not narrow an interval that
    passages which nobody judged have widened."""
    of_roles = verdict["comparisons"].items()
    comparisons: dict[str, Comparison] = {role: {**of, "detectable": None} for role, of in of_roles}
    return {**verdict, "comparisons": comparisons}


def widen_difference(of: Difference, reach: UnjudgedReach | None) -> Difference:
    """Widen an interval as far as passages that nobody judged could take it."""
    if of["low"] is None or of["high"] is None or reach is None:
        return of
    low, high = of["low"] - reach["below"], of["high"] + reach["above"]
    return {**of, "low": round(low, 6), "high": round(high, 6)}


def build_verdict(
    summary: Summary,
    margin: float = MARGIN,
    queries_alone: bool = False,
    decides_bm25: bool = True,
) -> Verdict:
    """Judge the student beside every other model, and advise what to ship.

    Args:
        queries_alone: base and student embed queries alone, for the teacher's documents. The base
            is then the teacher itself, a part of it, or an encoder with a layer fitted to it, and
            is not exported: who does not ship the student lets the teacher embed the queries, and
            the teacher is advised.
        decides_bm25: whether the tasks tell BM25 and hybrids from models; otherwise nothing is said
            of them.
    """
    left_out = [] if decides_bm25 else list_baselines(summary["models"])
    others = [
        role
        for role, model in summary["models"].items()
        if role != "student" and model.get("variant_of") is None and role not in left_out
    ]
    comparisons = {
        role: comparison
        for role in others
        if (comparison := _compare(summary["differences"], "student", role, margin)) is not None
    }
    against = _choose_opponent(comparisons)
    advice, system = _advise(summary, margin, decides_bm25)
    if queries_alone:
        advice, system = _put_teacher_for_base(advice, system)
    return {
        "kind": "unclear" if against is None else comparisons[against]["kind"],
        "against": against,
        "advice": advice,
        "system": system,
        "margin": margin,
        "comparisons": comparisons,
    }


def judge_difference(of: Difference, margin: float = MARGIN) -> Comparison:
    """Judge one difference by its interval: better, level, worse, or unclear without one that says
    either."""
    low, high = of["low"], of["high"]
    return {
        "kind": _judge_interval(low, high, margin),
        "difference": of["difference"],
        "low": low,
        "high": high,
        "items": of["items"],
        "not_worse": None if low is None else low >= -margin,
        "detectable": None if low is None or high is None else compute_detectable(high - low),
    }


def compute_detectable(width: float) -> float:
    """Compute the smallest difference that would be shown with 80 % power at the level of 5 %, from
    the width of a 95 % interval of as many items: (1.96 + 0.84) standard errors."""
    return round((_CERTAINTY + _POWER) * width / (2 * _CERTAINTY), 6)


def _judge_interval(low: float | None, high: float | None, margin: float) -> Kind:
    if low is None or high is None:
        return "unclear"
    if -margin <= low and high <= margin:
        return "level"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "unclear"


def _choose_opponent(comparisons: Mapping[str, Comparison]) -> str | None:
    """Choose the base beside which the student looks worst, else the teacher, else BM25."""
    bases = list_bases(comparisons)
    if bases:
        return min(bases, key=lambda role: _FROM_WORST.index(comparisons[role]["kind"]))
    return next((role for role in ("teacher", BM25_ROLE) if role in comparisons), None)


def _advise(summary: Summary, margin: float, decides_bm25: bool) -> tuple[Advice, str]:
    """Advise a hybrid where it is better than its model alone and not worse than the best model
    alone; BM25 alone where no model adds to it, and where it can do every task."""
    differences = summary["differences"]
    can_do_all = not list_tasks_without_bm25(summary)
    alone = _choose_model(summary, margin, hybrid=False)
    model_alone: Advice = "student" if alone == "student" else "base"
    if not decides_bm25:
        return model_alone, alone
    for model in (_choose_model(summary, margin, hybrid=True), alone):
        hybrid = name_hybrid(model)
        if not _is_worse(differences, model, hybrid, margin):
            continue
        if _is_worse(differences, hybrid, alone, margin):
            continue
        beside = _compare(differences, hybrid, BM25_ROLE, margin)
        ahead = beside is None or (beside["difference"] or 0) > 0
        return ("bm25", BM25_ROLE) if can_do_all and not ahead else ("hybrid", hybrid)
    if can_do_all and _is_worse(differences, alone, BM25_ROLE, margin):
        return "bm25", BM25_ROLE
    return model_alone, alone


def _put_teacher_for_base(advice: Advice, system: str) -> tuple[Advice, str]:
    others: dict[str, tuple[Advice, str]] = {
        "base": ("teacher", "teacher"),
        name_hybrid("base"): ("hybrid", name_hybrid("teacher")),
    }
    return others.get(system, (advice, system))


def _choose_model(summary: Summary, margin: float, hybrid: bool) -> str:
    """Choose the student or its base. Where both are level the base, which needs no training,
    unless the student is smaller; where it is unclear the one with the better score. Of several
    bases that are chosen before the student the one with the best score."""
    models, differences = summary["models"], summary["differences"]
    bases = ["base"] if hybrid else list_bases(models)
    chosen, least = "student", float("inf")
    for base in bases:
        pair = [name_hybrid(role) if hybrid else role for role in ("student", base)]
        comparison = _compare(differences, pair[0], pair[1], margin)
        if comparison is None:
            continue
        difference = comparison["difference"] or 0.0
        ahead = difference > 0
        if comparison["kind"] == "level":
            ahead = (models["student"]["bytes"] or 0) < _SMALLER * (models[base]["bytes"] or 0)
        if not ahead and difference < least:
            chosen, least = base, difference
    return chosen


def list_tasks_without_bm25(summary: Summary) -> list[str]:
    """List the averaged tasks that BM25 has no score on, such as similarity; none where it was not
    measured."""
    bm25 = summary["models"].get(BM25_ROLE)
    tasks = list_averaged_tasks(summary)
    return [] if bm25 is None else [task for task in tasks if task not in bm25["tasks"]]


def _is_worse(differences: Mapping[str, Differences], one: str, other: str, margin: float) -> bool:
    comparison = _compare(differences, one, other, margin)
    return comparison is not None and comparison["kind"] == "worse"


def _compare(
    differences: Mapping[str, Differences], one: str, other: str, margin: float
) -> Comparison | None:
    """Compare one role with another, whichever way their difference was taken; None without any."""
    if (difference := differences.get(name_difference(one, other))) is not None:
        return judge_difference(difference["overall"], margin)
    if (difference := differences.get(name_difference(other, one))) is not None:
        return judge_difference(_negate(difference["overall"]), margin)
    return None


def _negate(of: Difference) -> Difference:
    turned = of.copy()
    turned["difference"] = None if of["difference"] is None else -of["difference"]
    turned["low"] = None if of["high"] is None else -of["high"]
    turned["high"] = None if of["low"] is None else -of["low"]
    return turned


def list_pairs(roles: Collection[str], variants: Collection[str]) -> list[tuple[str, str]]:
    """List the pairs whose difference a comparison computes: the student beside everyone else, a
    variant beside the student, and what the advice needs."""
    pairs = [
        (role, "student") if role in variants else ("student", role)
        for role in roles
        if role != "student"
    ]
    return pairs + [pair for pair in PAIRS if set(pair) <= set(roles)]
