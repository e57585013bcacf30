"""Make the lists that the judge learns from: for a query's candidates, the sum of the scores of its
teachers."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from distill.errors import UserError
from distill.recipe import Ranker
from distill.store.shards import list_shards
from distill.store.stage import Stage
from distill.store.tables import LABELS, QUERIES, Reader, Row, read_shard
from distill.train.judge.base import JudgeTraining
from distill.train.objectives.inputs import standardize

LEAST_LISTS = 10
_HELD_OUT = 0.1
"""Share of the lists that the trained judge is compared with, and that it does not learn from."""


class TeachingList(NamedTuple):
    """A query, ids of its candidates from best to last, and what the judge is to learn of each."""

    query: str
    passage_ids: list[str]
    targets: list[float]


class TeachingLists(NamedTuple):
    """The lists that are learnt, and those that are held out."""

    learnt: list[TeachingList]
    held_out: list[TeachingList]


def read_lists(training: JudgeTraining, queries: Stage, labels: Stage) -> TeachingLists:
    """Read the lists of at most `judge.queries` queries, drawn by seed. A candidate that one of the
    teachers has no score of is left out, and so is a list of less than two, or of equal ones.

    Raises:
        UserError: if too few are left to learn from.
    """
    rows = Reader(QUERIES, queries.folder)
    draw = random.Random(f"{training.seed}|judge")
    chosen = sorted(draw.sample(range(len(rows)), min(len(rows), training.judge.queries)))
    texts = {row["query_id"]: row["query"] for row in (rows[number] for number in chosen)}
    lists = TeachingLists([], [])
    for path in list_shards(labels.folder):
        by_query: dict[str, list[Row]] = {}
        for row in read_shard(LABELS, path):
            if row["query_id"] in texts:
                by_query.setdefault(row["query_id"], []).append(row)
        for query_id, of_query in by_query.items():
            made = _make_list(texts[query_id], of_query, training)
            if made is not None:
                held_out = _is_held_out(training.seed, texts[query_id])
                (lists.held_out if held_out else lists.learnt).append(made)
    if len(lists.learnt) < LEAST_LISTS:
        raise UserError(
            str(labels.folder),
            f"{len(lists.learnt)} of {len(rows)} queries have a list to learn from, with scores of "
            f"{', '.join(training.teachers)}, and it takes {LEAST_LISTS}",
            "give more queries, or name in judge.rankers those that have judged all candidates",
        )
    return lists


def choose_candidates(of: TeachingList, count: int) -> TeachingList:
    """Choose the best candidate, the last one, and others evenly between them."""
    places = np.linspace(0, len(of.targets) - 1, min(count, len(of.targets))).round().astype(int)
    return TeachingList(
        of.query, [of.passage_ids[i] for i in places], [of.targets[i] for i in places]
    )


def add_scores(
    rows: Sequence[Row], rankers: Sequence[Ranker], weights: Mapping[Ranker, float]
) -> list[float]:
    """Add the rankers' scores of a query's candidates, each with mean 0 and deviation 1 over the
    list, by weight; the weights count as shares of their sum. Rankers that disagree add up to
    scores that lie closer together."""
    columns = ["similarity" if ranker == "retriever" else ranker for ranker in rankers]
    scores = torch.tensor([[row[name] for row in rows] for name in columns], dtype=torch.float64)
    share = torch.tensor([weights.get(ranker, 1.0) for ranker in rankers], dtype=torch.float64)
    added: list[float] = (share / share.sum() @ standardize(scores)).tolist()
    return added


def _make_list(query: str, rows: Sequence[Row], training: JudgeTraining) -> TeachingList | None:
    rankers, weights = training.teachers, training.judge.weights
    counted = [ranker for ranker in rankers if weights.get(ranker, 1.0) > 0]
    columns = [ranker for ranker in counted if ranker != "retriever"]
    known = [row for row in rows if all(row[column] is not None for column in columns)]
    if len(known) < 2:
        return None
    targets = add_scores(known, counted, weights)
    if max(targets) - min(targets) < 1e-6:
        return None
    order = sorted(range(len(known)), key=lambda i: (-targets[i], known[i]["passage_id"]))
    return TeachingList(query, [known[i]["passage_id"] for i in order], [targets[i] for i in order])


def _is_held_out(seed: int, query: str) -> bool:
    """Return whether a query is held out, by its text, so that equal queries are on one side."""
    digest = hashlib.sha256(f"{seed}|judge|{query}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < _HELD_OUT
