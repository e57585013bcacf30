"""The facts that a verdict rests on, each with a label: what the student keeps, how far it is from
each other model, what to do, and how sure all that is."""

from distill.corpus.held_out import JUDGED
from distill.evaluate.summary import (
    BM25_ROLE,
    Comparison,
    Difference,
    ModelFigures,
    Origin,
    Summary,
    compute_share_of_teacher,
    describe_metric,
    format_role,
    list_averaged_tasks,
    list_baselines,
    list_bases,
    name_difference,
    name_hybrid,
)
from distill.evaluate.verdict import (
    get_verdict,
    judge_difference,
    list_tasks_without_bm25,
    widen_difference,
)
from distill.report.verdict import join_words, list_origins, name_in_sentence

Fact = tuple[str, str]
"""A label, and what there is to say of it."""

_SURE = 0.05
_KINDS = {"better": "better", "level": "level", "worse": "worse", "unclear": "not told apart"}
_WHAT_TO_DO = {
    "student": "ship the student",
    "base": "ship the {system}, which needs no training",
    "teacher": "let the teacher embed the queries",
    "hybrid": "ship the hybrid: search with {system}, by the weighted sum of both scores",
    "bm25": "search by words, with BM25 alone",
}
_DRAWN_BEFORE = (
    "a person judged pairs that an earlier version drew, which tell student minus teacher alone: "
    "move RUN/verdicts away and judge anew for a verdict"
)
_EXPLAINED: dict[Origin, str] = {
    "llm": (
        f"On the task {JUDGED} an LLM says which passages answer a query: the verdict is as good "
        "as this judge, which `distill judge RUN` lets a person check."
    ),
    "llm and person": (
        "The intervals of the verdict hold however badly the LLM judges; scores, and all that is "
        "not marked as DCG@10, are by the LLM alone."
    ),
    "sentences": (
        "A document lacks the words of the sentence that asks for it, so that BM25 finds it less "
        "often than it would find what people ask for: of BM25 and hybrids this verdict says "
        "nothing."
    ),
}


def list_facts(summary: Summary) -> list[Fact]:
    """List all facts: the figures, then the findings."""
    return [*list_figures(summary), *list_findings(summary)]


def list_figures(summary: Summary) -> list[Fact]:
    """List what the student reaches and costs, as a share of its teacher's where there is one."""
    student, teacher = summary["models"]["student"], summary["models"].get("teacher")
    share = compute_share_of_teacher(summary)
    if teacher is None or share is None:
        return [("student", f"{_name_metric(summary)} {student['score']:.4f}")]
    sure = summary.get("retention")
    between = f", 95 % interval {sure['low']:.1%} to {sure['high']:.1%}" if sure else ""
    scores = f"{student['score']:.4f} of {teacher['score']:.4f}"
    figures = [
        ("kept", f"{share:.1%} of the teacher's {_name_metric(summary)} ({scores}){between}"),
        ("costs", _list_ratios(student, teacher)),
    ]
    return [fact for fact in figures if fact[1]]


def list_findings(summary: Summary) -> list[Fact]:
    """List the student's differences with their intervals, a base that it does not beat first; then
    what to do, how sure it is, and what an LLM's judgments say beside it."""
    differences = [(role, _describe_gap(summary, role)) for role in _list_opponents(summary)]
    facts = [(_name_pair(role), text) for role, text in differences]
    facts.append(("what to do", _say_what_to_do(summary)))
    facts.append(("how sure", _describe_certainty(summary)))
    if JUDGED in summary["tasks"] and JUDGED not in list_averaged_tasks(summary):
        facts.append((f"task {JUDGED}", _describe_judged_task(summary)))
    return [fact for fact in facts if fact[1]]


def _list_opponents(summary: Summary) -> list[str]:
    """List the bases that the student does not beat, the teacher, the other bases, BM25, and the
    student's own fusion with it."""
    bases = list_bases(summary["models"])
    unbeaten = [role for role in bases if _get_distance(summary, role) <= 0]
    others = ["teacher", *bases, BM25_ROLE, name_hybrid("student")]
    roles = list(dict.fromkeys([*unbeaten, *others]))
    return [role for role in roles if name_difference("student", role) in summary["differences"]]


def _get_gap(summary: Summary, role: str) -> Difference:
    return summary["differences"][name_difference("student", role)]["overall"]


def _get_distance(summary: Summary, role: str) -> float:
    """Get the student's difference that the verdict rests on; 0 of one that is not known."""
    judged = get_verdict(summary)["comparisons"].get(role)
    return (judged or _get_gap(summary, role))["difference"] or 0.0


def _name_pair(role: str) -> str:
    other = format_role(role)
    return f"student - ({other})" if " + " in other else f"student - {other}"


def _describe_gap(summary: Summary, role: str) -> str:
    """Describe the difference from one other model: the verdict's word, size, interval and
    chance."""
    verdict = get_verdict(summary)
    of = verdict["comparisons"].get(role)
    word = _KINDS[of["kind"]] if of else ""
    if role in list_baselines(summary["models"]) and not verdict.get("decides_bm25", True):
        word = "not decided by this task"
    if role in list_bases(summary["models"]) and _get_distance(summary, role) <= 0:
        word = f"NO better than the {format_role(role)}"
    if of and verdict.get("person_verdicts"):
        return f"{word}: {_describe_corrected(summary, of)}"
    gap = _get_gap(summary, role)
    told = _describe_difference(summary, gap)
    if of and of["low"] is not None and (of["low"], of["high"]) != (gap["low"], gap["high"]):
        told = _describe_widened(summary, of)
    return f"{word}{': ' if word else ''}{told}"


def _describe_widened(summary: Summary, of: Comparison) -> str:
    """Describe a difference by an LLM whose interval holds what passages that nobody judged could
    change. No p-value: that is of a test in which they are irrelevant."""
    return (
        f"{of['difference']:+.4f}, 95 % interval {of['low']:+.4f} to {of['high']:+.4f} with all "
        f"that passages which nobody judged could change, {of['items']:,} {_name_items(summary)}"
    )


def _describe_corrected(summary: Summary, of: Comparison) -> str:
    """Describe a difference that a person's verdicts correct."""
    verdicts = get_verdict(summary)["person_verdicts"]
    return (
        f"{of['difference']:+.4f} DCG@10, 95 % interval {of['low']:+.4f} to {of['high']:+.4f}, by "
        f"{verdicts} verdicts of a person and the LLM's on {of['items']:,} queries"
    )


def _describe_difference(summary: Summary, gap: Difference) -> str:
    if gap["difference"] is None:
        return "no difference known"
    if gap["low"] is None or gap["high"] is None or gap["p"] is None:
        averaged = list_averaged_tasks(summary).items()
        without = [task for task, of in averaged if of["items"] is None]
        because = f" (no values of single items on {', '.join(without)})" if without else ""
        return f"{gap['difference']:+.4f}, no interval{because}"
    told = (
        f"{gap['difference']:+.4f}, 95 % interval {gap['low']:+.4f} to {gap['high']:+.4f}, "
        f"{gap['items']:,} {_name_items(summary)}"
    )
    p_value = format_p_value(gap["p"])
    if gap["p"] <= _SURE:
        return f"{told}, {p_value}"
    if gap["low"] > 0 or gap["high"] < 0:  # the interval decides, as in the verdict
        return f"{told} (the permutation test is less sure: {p_value})"
    return f"{told}, {p_value}, which may be chance"


def _say_what_to_do(summary: Summary) -> str:
    verdict = get_verdict(summary)
    advice = _WHAT_TO_DO[verdict["advice"]].format(system=format_role(verdict["system"]))
    compared = verdict["comparisons"]
    if "unclear" in [compared[role]["kind"] for role in list_bases(compared)]:
        more = "more verdicts" if verdict.get("person_verdicts") else "more queries"
        if _has_unjudged(summary):
            more = f"a pool that holds all that is ranked, and {more},"
        advice += f"; {more} would tell it from its base"
    origins = list_origins(summary).values()
    if "llm" in origins and summary.get("judge_check", {}).get("verified"):
        return f"{advice}; {_DRAWN_BEFORE}"
    if "llm" in origins:
        return f"{advice}; first let a person check the LLM that judged, with `distill judge RUN`"
    if "sentences" in origins:
        return f"{advice}; whether BM25 or a hybrid is better, labelled queries would tell"
    return advice


def _has_unjudged(summary: Summary) -> bool:
    """Return whether the verdict is of a pool that lacks passages which systems rank first."""
    unjudged = summary.get("judge_check", {}).get("unjudged")
    return bool(unjudged) and JUDGED in list_averaged_tasks(summary)


def _describe_certainty(summary: Summary) -> str:
    """Describe the margin of "level", which differences would have shown where models are not told
    apart, and what the verdict does not cover."""
    verdict = get_verdict(summary)
    compared, margin = verdict["comparisons"], verdict["margin"]
    known = [*list_bases(compared), *(r for r in (BM25_ROLE, "teacher") if r in compared)]
    parts = [_explain_unclear(summary, role, compared[role]) for role in known]
    if any(compared[role]["kind"] == "level" for role in known):
        parts.append(f"Level means that the 95 % interval lies within {margin:g}.")
    parts += [_EXPLAINED[of] for of in list_origins(summary).values() if of in _EXPLAINED]
    if without := list_tasks_without_bm25(summary):
        parts.append(f"BM25 and hybrids have no score on {', '.join(without)}.")
    shown = [compared[role] for role in _list_opponents(summary) if role in compared]
    if shown and all(of["kind"] in ("better", "worse") for of in shown):
        parts.append("No interval contains 0. They are over queries, not over seeds of training.")
    return " ".join(filter(None, parts))


def _explain_unclear(summary: Summary, role: str, of: Comparison) -> str:
    if of["kind"] != "unclear" or of["detectable"] is None or of["items"] is None:
        return ""
    verdict = get_verdict(summary)
    beyond = f"; the student is at most {verdict['margin']:g} worse" if of["not_worse"] else ""
    by_person = verdict.get("person_verdicts")
    many = f"{by_person} verdicts" if by_person else f"{of['items']:,} {_name_items(summary)}"
    return (
        f"{many} would show a difference from {name_in_sentence(role)} of "
        f"{of['detectable']:.3f} or more{beyond}."
    )


def _describe_judged_task(summary: Summary) -> str:
    """Describe what the task whose answers an LLM judged says, where the verdict is of other
    tasks."""
    roles = [role for role in [*list_bases(summary["models"]), "teacher"] if role != "student"]
    names = {role: name_difference("student", role) for role in roles if role in summary["models"]}
    reach = summary.get("judge_check", {}).get("ndcg_reach", {})
    gaps = {
        role: widen_difference(summary["differences"][name]["tasks"][JUDGED], reach.get(name))
        for role, name in names.items()
    }
    standings = [
        f"{_describe_interval(judge_difference(gap))} beside {name_in_sentence(role)}"
        for role, gap in gaps.items()
    ]
    items = summary["tasks"][JUDGED]["items"]
    return (
        f"no part of this verdict, for an LLM chose its answers: the student is "
        f"{join_words(standings)}, over {items} queries"
    )


def _describe_interval(of: Comparison) -> str:
    if of["difference"] is None:
        return "no difference known"
    if of["low"] is None or of["high"] is None:
        return f"{of['difference']:+.4f}"
    return f"{of['difference']:+.4f} [{of['low']:+.4f}, {of['high']:+.4f}]"


def _name_metric(summary: Summary) -> str:
    name, tasks = describe_metric(summary), list_averaged_tasks(summary)
    return name if len(tasks) == 1 or name.startswith("mean") else f"mean {name}"


def _list_ratios(student: ModelFigures, teacher: ModelFigures) -> str:
    costs = {
        "the parameters": (student["parameters"], teacher["parameters"]),
        "the size on disk": (student["bytes"], teacher["bytes"]),
        "the speed": (student["texts_per_second"], teacher["texts_per_second"]),
    }
    ratios = join_words([f"{a / b:.2f} times {what}" for what, (a, b) in costs.items() if a and b])
    return f"{ratios} of the teacher" if ratios else ""


def _name_items(summary: Summary) -> str:
    categories = {of["category"] for of in list_averaged_tasks(summary).values()}
    if categories <= {"STS", "PairClassification"}:
        return "pairs of texts"
    return "queries" if categories <= {"Retrieval", "Reranking"} else "queries and texts"


def format_p_value(p: float) -> str:
    """Format a p-value, such as `p = 0.012` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
