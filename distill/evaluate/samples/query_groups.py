"""A ranking task's scores by groups of its queries: short, middle and long ones, those whose
documents are, and kinds where a run's own task has them."""

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np

from distill.corpus.held_out import JUDGED, KNOWN_ITEM
from distill.evaluate.judged.collection import read_json_lines
from distill.evaluate.statistics.item_parts import NO_GROUPS, AnswerGroups, number_groups
from distill.evaluate.statistics.resampling import draw_bootstrap
from distill.evaluate.summary import Breakdown, GroupDifference, QueryGroup
from distill.store.tables import QUERIES, read_rows

RoleValues = Mapping[str, Mapping[str, float]]
"""By item ("split/subset/id") and role: the value of a query."""
QueryKinds = Mapping[str, Mapping[str, str]]
"""By task and query id."""
DOCUMENT_LENGTH = "length of its documents"
"""The name of the breakdown by the mean length of what is relevant to a query."""
HELD_OUT_QUERIES = "queries-held-out"
"""The stage of the queries that an LLM wrote for held-out passages."""
_KINDS = {"title": "a document's title", "sentence": "a sentence out of a document"}


class ItemLengths(NamedTuple):
    """Words, by item: of its query, and of its relevant documents in the mean."""

    queries: Mapping[str, int]
    documents: Mapping[str, int]


def group_queries(
    values: RoleValues,
    lengths: ItemLengths,
    kinds: Mapping[str, str],
    groups: AnswerGroups = NO_GROUPS,
) -> list[Breakdown]:
    """Average the values of each group of a task's queries: by thirds of their length and of their
    documents', and by kind; of a single group there is nothing to tell.

    Args:
        kinds: by query id.
        groups: of queries that ask for the same documents.
    """
    by_kind: dict[str, list[str]] = {}
    for item in sorted(values):
        if (kind := kinds.get(item.split("/", 2)[2])) is not None:
            by_kind.setdefault(kind, []).append(item)
    by_length, by_documents = (
        _split_in_thirds({item: of[item] for item in values if item in of}) for of in lengths
    )
    groupings = {"length": by_length, DOCUMENT_LENGTH: by_documents, "kind": by_kind}
    return [
        {"by": by, "groups": [_average(name, items, values, groups) for name, items in of.items()]}
        for by, of in groupings.items()
        if len(of) > 1
    ]


def _split_in_thirds(lengths: Mapping[str, int]) -> dict[str, list[str]]:
    """Split items at the lengths of those that stand at a third and at two thirds of their order;
    equal lengths stay together, so that groups may differ in size, or be fewer."""
    ordered = sorted(lengths.values())
    first, second = (
        (ordered[share * (len(ordered) - 1) // 3] for share in (1, 2)) if ordered else (0, 0)
    )
    bounds = {"short": (0, first), "middle": (first, second), "long": (second, float("inf"))}
    groups: dict[str, list[str]] = {}
    for name, (low, high) in bounds.items():
        items = [item for item in sorted(lengths) if low < lengths[item] <= high]
        if items:
            groups[f"{name}: {_write_range(lengths[item] for item in items)}"] = items
    return groups


def _write_range(lengths: Iterable[int]) -> str:
    ordered = sorted(lengths)
    low, high = ordered[0], ordered[-1]
    return f"{low} words" if low == high else f"{low} to {high} words"


def _average(name: str, items: list[str], values: RoleValues, groups: AnswerGroups) -> QueryGroup:
    """Average over the items of a group, for each role that has a value of all."""
    roles = [role for role in values[items[0]] if all(role in values[item] for item in items)]
    scores = {role: round(mean(values[item][role] for item in items), 6) for role in roles}
    group: QueryGroup = {"group": name, "items": len(items), "scores": scores}
    if {"student", "teacher"} <= set(roles):
        gaps = {item: values[item]["student"] - values[item]["teacher"] for item in items}
        if (difference := _compare_with_teacher(name, gaps, groups)) is not None:
            group["from_teacher"] = difference
    return group


def _compare_with_teacher(
    name: str, by_item: Mapping[str, float], groups: AnswerGroups
) -> GroupDifference | None:
    """Compare over a group, with the interval of the paired percentile bootstrap; None of a single
    query, or of queries that all ask for the same."""
    gaps = np.array([*by_item.values()])
    numbers = number_groups([groups.get(item, item) for item in by_item])
    if len(gaps) < 2 or (numbers is not None and not numbers.any()):
        return None
    drawn = draw_bootstrap(gaps, np.random.default_rng([0, zlib.crc32(name.encode())]), numbers)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "difference": round(float(gaps.mean()), 6),
        "low": round(float(low), 6),
        "high": round(float(high), 6),
    }


def read_query_kinds(run_folder: Path) -> dict[str, dict[str, str]]:
    """Read the kinds of queries of a run's own tasks: what a document is searched by, and the type
    of task that an LLM wrote a query for."""
    kinds = {}
    if (run_folder / KNOWN_ITEM / "queries.jsonl").is_file():
        rows = read_json_lines(run_folder / KNOWN_ITEM / "queries.jsonl")
        kinds[KNOWN_ITEM] = {
            r["_id"]: _KINDS.get(r["kind"], r["kind"]) for r in rows if "kind" in r
        }
    written = run_folder / HELD_OUT_QUERIES
    if (written / ".stage" / "manifest.json").is_file():
        kinds[JUDGED] = {row["query_id"]: row["task_type"] for row in read_rows(QUERIES, written)}
    return kinds
