"""The content of `summary.json`: every model's figures, and how sure their differences are."""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Literal, NotRequired, TypedDict

from distill.corpus.held_out import JUDGED
from distill.errors import UserError
from distill.files.atomic import commit_bytes, read_json
from distill.store.stage import open_stage

SCHEMA = 2
ITEMS_FILE = "items.json"
"""Beside a comparison's summary: the values of single items, by task, item and role."""
GROUPS_FILE = "answer-groups.json"
"""The queries that ask for the same documents, by task."""


class TaskFigures(TypedDict):
    """`items`: single items (queries, texts) whose values are kept; null where there are none.
    `dataset` is the data's id on the hub, null of data of one's own; summaries of earlier versions
    lack it."""

    dataset: NotRequired[str | None]
    category: str
    metric: str
    revision: str
    items: int | None


class ModelFigures(TypedDict):
    """The figures of one model. A figure that is not known is null: a server's size, the speed of
    published results, the overall score of a model that lacks a task. `score` is the mean over the
    averaged tasks; `latency_ms` the median of single texts; `mteb` the version that the scores are
    of. `measures` are other scores of a task that ranks documents (recall_at_10, recall_at_100,
    mrr_at_10, map_at_10), by task. `baseline` is true of BM25 and its hybrids, which have scores on
    retrieval tasks alone. `details` are more of them, with recall at several depths. `speed_rounds`
    are the texts a second of each round, in which all models took turns, and `latency_quartiles`
    those of single texts, in milliseconds. Summaries of earlier versions lack them."""

    model: str
    revision: str | None
    licence: str | None
    parameters: int | None
    bytes: int | None
    dimensions: int | None
    texts_per_second: float | None
    latency_ms: float | None
    index_bytes_per_million: int | None
    score: float | None
    by_category: dict[str, float]
    tasks: dict[str, float]
    variant_of: str | None
    published: bool
    mteb: str
    measures: NotRequired[dict[str, dict[str, float]]]
    details: NotRequired[dict[str, dict[str, float]]]
    speed_rounds: NotRequired[list[float]]
    latency_quartiles: NotRequired[list[float]]
    baseline: NotRequired[bool]


class Difference(TypedDict):
    """Null where there are no values of single items; `p_holm` and the counts of items won, tied
    and lost are a task's alone."""

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    wins: int | None
    ties: int | None
    losses: int | None
    items: int | None


class Differences(TypedDict):
    """The student's differences from one other model, over all tasks and by task."""

    overall: Difference
    tasks: dict[str, Difference]


Kind = Literal["better", "level", "worse", "unclear"]
"""How the student stands to another model: its 95 % interval lies above zero, within the margin on
both sides, below zero, or none of these. What lies within the margin is level whatever its sign."""
Advice = Literal["student", "base", "teacher", "hybrid", "bm25"]


class Comparison(TypedDict):
    """`not_worse`: the whole interval lies above minus the margin (non-inferiority). `detectable`:
    the smallest difference that a comparison of as many items shows in four of five cases (80 %
    power at the two-sided level of 5 %). Both are null where there is no interval."""

    kind: Kind
    difference: float | None
    low: float | None
    high: float | None
    items: int | None
    not_worse: bool | None
    detectable: float | None


Origin = Literal["labels", "titles", "sentences", "llm", "llm and person"]
"""Where a task's queries and answers come from: they came with the data; documents are searched for
by their own titles, or most of them by a sentence; an LLM judged, and a person has checked it."""


class Verdict(TypedDict):
    """`kind` is the student's standing to `against`: its base (of several the one beside which it
    looks worst), without a base its teacher, without both BM25; null where there is none of them.
    `advice` says what to ship, and `system` which model or hybrid that is; `margin` is the
    difference that does not matter. `comparisons` are the student's, by the other's role.

    `rests_on` says of a run's averaged tasks where their answers come from; the verdict of
    `distill compare`, and of earlier versions, lacks it. Of "llm and person" the comparisons are
    corrected by so many `person_verdicts`, and in DCG@10. `decides_bm25` is false where nothing is
    said of BM25 and hybrids, for documents are searched for by sentences."""

    kind: Kind
    against: str | None
    advice: Advice
    system: str
    margin: float
    comparisons: dict[str, Comparison]
    rests_on: NotRequired[dict[str, Origin]]
    person_verdicts: NotRequired[int]
    decides_bm25: NotRequired[bool]


class CorrectedDifference(TypedDict):
    """A mean difference over queries in DCG@10 (a relevant passage at the first place counts 1)
    with its 95 % interval; `tuning` is the weight of the LLM's judgments, from 0 to 1."""

    difference: float
    low: float
    high: float
    tuning: float


class UnjudgedReach(TypedDict):
    """The amounts by which a difference could be lower, and higher, if passages that nobody judged
    were as relevant as they can be; both are positive."""

    below: float
    above: float


class JudgeCheck(TypedDict):
    """The check, by a person's verdicts, of the LLM that judged the pool of the task `judged`.
    `verified` says that they are enough for an interval, whatever it is; `agreement` is the share
    of them that the LLM shares, null without any. `differences` are named as a summary's; empty
    where the judge is not verified. `unjudged` are the shares of systems' first ten passages that
    are not in the pool, of those systems that have such; the intervals of `differences` reach as
    far as these passages could be worth, and `ndcg_reach` says how far the LLM's do. Summaries of
    earlier versions lack both."""

    model: str
    verified: bool
    verdicts: int
    verdicts_needed: int
    agreement: float | None
    queries: int
    differences: dict[str, CorrectedDifference]
    unjudged: NotRequired[dict[str, float]]
    ndcg_reach: NotRequired[dict[str, UnjudgedReach]]


class GroupDifference(TypedDict):
    """The mean of student minus teacher over a group's queries, with its 95 % interval."""

    difference: float
    low: float
    high: float


class QueryGroup(TypedDict):
    """A group of `items` queries, and the mean of each role's values over them. `from_teacher` is
    the student's difference; summaries of earlier versions, and those without a teacher, lack it,
    and so does a group of one query."""

    group: str
    items: int
    scores: dict[str, float]
    from_teacher: NotRequired[GroupDifference]


class Breakdown(TypedDict):
    """A task's queries in groups by their length, by that of their documents, or by their kind."""

    by: str
    groups: list[QueryGroup]


class Retention(TypedDict):
    """The student's score as a share of the teacher's with its 95 % interval, over so many
    items."""

    share: float
    low: float
    high: float
    items: int


class Summary(TypedDict):
    """`unaveraged` are tasks that are no part of means over tasks, of overall differences and of
    the verdict. Summaries of earlier versions average all tasks, and lack it. They lack
    `breakdowns`, by task, and `retention`, which `read_run_summary` then estimates; it is null
    where that cannot be done. `read_run_summary` also adds `fused_by_ranks` where a hybrid's
    figures are those of an earlier version, which ranked by reciprocal ranks, and `judge_check`
    of a run whose pool an LLM has judged."""

    schema: int
    verdict: NotRequired[Verdict]
    judge_check: NotRequired[JudgeCheck]
    mteb: str
    tasks: dict[str, TaskFigures]
    unaveraged: NotRequired[list[str]]
    models: dict[str, ModelFigures]
    kept: float | None
    retention: NotRequired[Retention | None]
    breakdowns: NotRequired[dict[str, list[Breakdown]]]
    fused_by_ranks: NotRequired[bool]
    differences: dict[str, Differences]


"""Models by role, in the order of a table: `base`, `base-2`, ..., `student`, its variants,
`teacher`, published results by their models' names. Differences are called "student - teacher"."""


def write_summary(path: Path, summary: Summary) -> None:
    """Write a JSON file in the summary's own order, which is that of its tables; the verdict is
    first."""
    ordered = {key: summary[key] for key in ("schema", "verdict") if key in summary} | summary
    commit_bytes(path, (json.dumps(ordered, indent=2, ensure_ascii=False) + "\n").encode())


def read_summary(path: Path) -> Summary:
    """Read the summary in the file.

    Raises:
        UserError: if an earlier distill has written it.
    """
    summary: Summary = read_json(path)
    if summary.get("schema") != SCHEMA:
        raise UserError(
            str(path),
            "was written by another version of distill",
            "evaluate again: distill run with --overwrite stale, or distill compare",
        )
    return summary


def read_current_summary(run_folder: Path) -> Summary | None:
    """Read the verdict on a run as it stands; None where it is not evaluated to the end, or the
    student, the base or what is held out has been made anew since.

    Raises:
        UserError: if an earlier distill has written it.
    """
    evaluation = run_folder / "evaluation"
    if not (evaluation / ".stage" / "manifest.json").is_file():
        return None
    manifest = open_stage(evaluation).manifest
    inputs = manifest["inputs"].items()
    of_now = all(_read_fingerprint(run_folder / name) == mark for name, mark in inputs)
    return read_summary(evaluation / "summary.json") if manifest["complete"] and of_now else None


def _read_fingerprint(stage: Path) -> str | None:
    standing = (stage / ".stage" / "manifest.json").is_file()
    return open_stage(stage).fingerprint if standing else None


def name_difference(one: str, other: str) -> str:
    """Name the difference of two roles: `student - teacher`, `student - (base + bm25)`."""
    return " - ".join(f"({role})" if " + " in role else role for role in (one, other))


def choose_unaveraged(tasks: Collection[str]) -> list[str]:
    """Choose the tasks that are no part of a mean over tasks: `judged`, where there are others,
    for a mean of known answers and of an LLM's judgments says nothing certain."""
    return [JUDGED] if JUDGED in tasks and len(tasks) > 1 else []


def list_averaged_tasks(summary: Summary) -> dict[str, TaskFigures]:
    """List the tasks that means over tasks and the verdict are of."""
    left_out = summary.get("unaveraged", [])
    return {task: of for task, of in summary["tasks"].items() if task not in left_out}


def average_by_category(
    tasks: Mapping[str, TaskFigures], scores: Mapping[str, float]
) -> dict[str, float]:
    """Average each category over its tasks; of those only that have a score on all of them, for a
    mean over other tasks is another figure."""
    by_category: dict[str, list[float | None]] = {}
    for task, of in tasks.items():
        by_category.setdefault(of["category"], []).append(scores.get(task))
    whole = {c: [v for v in values if v is not None] for c, values in by_category.items()}
    return {
        c: round(mean(whole[c]), 6) for c in by_category if len(whole[c]) == len(by_category[c])
    }


def average_categories(summary: Summary, role: str) -> float | None:
    """Average over categories, what mteb calls "Mean (TaskType)": every category counts the same,
    however many its tasks."""
    of = summary["models"][role]["by_category"]
    return mean(of.values()) if of.keys() == set(list_categories(summary)) else None


def compute_share_of_teacher(summary: Summary) -> float | None:
    """Compute the share of the teacher's score that the student has. It is not rounded, unlike
    `kept`: to round twice gives another tenth of a percent."""
    teacher = summary["models"].get("teacher")
    ours, theirs = summary["models"]["student"]["score"], teacher["score"] if teacher else None
    return ours / theirs if ours is not None and theirs else None


def list_categories(summary: Summary) -> list[str]:
    """List the categories of the averaged tasks, each once, in the tasks' order."""
    return list(dict.fromkeys(of["category"] for of in list_averaged_tasks(summary).values()))


BM25_ROLE = "bm25"


def name_hybrid(role: str) -> str:
    """Name the hybrid of a model and BM25: `student + bm25`."""
    return f"{role} + {BM25_ROLE}"


def list_baselines(models: Mapping[str, ModelFigures]) -> list[str]:
    """List BM25 and its hybrids, where they were measured."""
    return [role for role, model in models.items() if model.get("baseline")]


_LABELS = {
    "ndcg_at_10": "nDCG@10",
    "mrr_at_10": "MRR@10",
    "map_at_10": "MAP@10",
    "map_at_1000": "MAP@1000",
    "hit_rate_at_1": "hit@1",
    "cosine_spearman": "Spearman",
    "max_ap": "max AP",
    "v_measure": "V-measure",
}


def format_metric(name: str) -> str:
    """Write mteb's name of a metric as the literature has it."""
    return _LABELS.get(name, name.replace("recall_at_", "recall@").replace("_", " "))


def describe_metric(summary: Summary) -> str:
    """Describe what the overall score is: the metric that all averaged tasks share, or else a mean
    of several."""
    shared = {of["metric"] for of in list_averaged_tasks(summary).values()}
    return format_metric(shared.pop()) if len(shared) == 1 else "mean over tasks"


def format_role(role: str) -> str:
    """Write a role as a person says it: `base-2` is base model 2, `base + bm25` base model +
    BM25."""
    return " + ".join(_format_part(part) for part in role.split(" + "))


def _format_part(role: str) -> str:
    if role == BM25_ROLE:
        return "BM25"
    return role.replace("base", "base model", 1).replace("-", " ", 1) if is_base(role) else role


def is_base(role: str) -> bool:
    """Return whether this role is an untrained encoder: `base`, or `base-2` and on where there are
    several."""
    return role == "base" or role.removeprefix("base-").isdigit()


def list_bases(roles: Iterable[str]) -> list[str]:
    """List the roles that are untrained encoders."""
    return [role for role in roles if is_base(role)]
